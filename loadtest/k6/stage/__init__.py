"""What a load test stands on: nodes, Redis, a balancer, Prometheus, as processes of their own."""
