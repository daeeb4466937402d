"""Between texts and tokens: conversations, chat templates, and the text of tokens. Knows no network."""
