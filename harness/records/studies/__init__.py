"""Records of a study as a whole: trials, claims, forecasts, verifications."""
