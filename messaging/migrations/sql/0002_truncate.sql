-- TRUNCATE would leave devices with messages that no longer exist: only a purge may.

CREATE FUNCTION messaging_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM messaging_refuse(format('Table %s cannot be truncated.', TG_TABLE_NAME),
        'Use "manage.py flush", or SET lockstep.purge = on first; give the database a new epoch after.');
    RETURN NULL;
END
$$;

DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'messaging_conversation', 'messaging_membership', 'messaging_message', 'messaging_receipt',
        'messaging_inbox', 'messaging_epoch', 'presence_device', 'presence_user'
    ] LOOP
        EXECUTE format($sql$
            CREATE TRIGGER lockstep_truncate BEFORE TRUNCATE ON %I FOR EACH STATEMENT
            WHEN (current_setting('lockstep.writer', true) IS DISTINCT FROM 'journal'
                  AND current_setting('lockstep.purge', true) IS DISTINCT FROM 'on')
            EXECUTE FUNCTION messaging_truncate()$sql$, name);
    END LOOP;
END
$do$;
