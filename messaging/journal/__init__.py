"""The durable verbs: messages by group commit, receipts by coalesced marks."""
