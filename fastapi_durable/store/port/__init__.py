"""The groups of operations that make up a state store; `store.base` composes them."""
