"""The declarations of users: workflows, steps, entities, queues, and the types in their signatures."""
