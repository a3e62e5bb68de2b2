"""What Experiments may name: the rules, and two checks of them."""
