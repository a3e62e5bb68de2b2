"""Training: SFT, RFT and DPO through TRL on rows of token ids, resumable to the same bytes."""
