"""A rig that does to a fleet of workers what a year does, and an auditor that looks at what came of it."""
