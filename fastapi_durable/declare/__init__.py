"""What users declare: workflows, steps, entities, queues, and the types in their signatures."""
