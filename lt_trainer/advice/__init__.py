"""What people are told of a plan: what it does (`explain`), and what could be done better (`doctor`)."""
