"""``misstep push``: a trained model, or the data it learned from, with a card made from facts, for the Hub."""
