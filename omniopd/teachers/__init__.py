"""Who continues a text: a model that runs here, one behind an API, a script; and wrappers around any of them."""
