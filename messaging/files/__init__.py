"""Files of messages. `kinds` tells what one is, `intake` takes it from a request, `contents` keeps it, `cleaning` removes it.

Laws: a row stands for a whole content, so the content is stored first; equal contents are stored once;
whoever stores or removes a content has its lock. Who may see a file is decided in `api.files`.
"""
