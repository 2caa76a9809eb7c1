-- Rows that are updated in place all the time leave room in their page, so that the new version
-- stays on it and no index is touched (heap-only update).
ALTER TABLE messaging_conversation SET (fillfactor = 50);
ALTER TABLE messaging_receipt SET (fillfactor = 50);
ALTER TABLE messaging_inbox SET (fillfactor = 50);
INSERT INTO messaging_epoch DEFAULT VALUES;
