"""From an inventory to devices in their declared state: inventory, roles, the engine, connectors, results."""
