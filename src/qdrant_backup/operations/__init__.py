"""The use cases, one module per verb. Each surveys through its ports, plans purely, and runs the plan."""
