"""Networks that run here: loading, sampling, scoring, and the text of tokens. Knows no teacher and no trainer."""
