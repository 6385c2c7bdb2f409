"""What can be learnt without a GPU: diagnoses, plans, replays, maps.  No torch, no SGLang."""
