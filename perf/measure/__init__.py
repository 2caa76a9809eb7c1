"""What a run looks at: latencies, resources, the services' own figures, and what they mean."""
