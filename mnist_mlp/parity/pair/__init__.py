"""Two models of two frameworks as each other's measure, in float64: any network that both have."""
