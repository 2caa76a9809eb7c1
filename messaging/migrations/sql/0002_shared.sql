-- What the triggers of this migration share.
--
-- Laws: a trigger runs only for writers other than the journal (lockstep.writer). Conversations are
-- locked first, in id order, by a statement of their own, so that the next statement's snapshot
-- contains what was waited for. Writes that a trigger makes itself run as the journal and are not
-- seen by triggers again. lockstep.purge = on permits real DELETE and TRUNCATE.

-- Refuse the statement: one line that says what is wrong, one that says how to mend it.
CREATE FUNCTION messaging_refuse(problem text, mend text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', MESSAGE = problem, HINT = mend;
END
$$;

-- Become the journal for the writes that follow, or (given what this returned) whoever wrote before.
-- A setting that never was set reads as NULL and can only be put back as '': neither is 'journal'.
CREATE FUNCTION messaging_write_as(writer text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before text := coalesce(current_setting('lockstep.writer', true), '');
BEGIN
    PERFORM set_config('lockstep.writer', writer, true);
    RETURN before;
END
$$;

-- Tell the hubs which groups have news. A hint only; above 100 groups one hint stands for all.
-- The transaction becomes durable before it is visible, whatever the session preferred.
CREATE FUNCTION messaging_announce(groups text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    names text[] := ARRAY(SELECT DISTINCT name FROM unnest(groups) AS name);
BEGIN
    IF cardinality(names) = 0 THEN
        RETURN;
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF cardinality(names) > 100 THEN
        names := ARRAY['*'];
    END IF;
    PERFORM pg_notify('lockstep', name) FROM unnest(names) AS name;
END
$$;

-- Lock conversations (given once each) until the transaction ends.
CREATE FUNCTION messaging_lock(conversations uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    locked bigint;
BEGIN
    PERFORM 1 FROM messaging_conversation WHERE id = ANY (conversations)
        ORDER BY id FOR NO KEY UPDATE;
    GET DIAGNOSTICS locked = ROW_COUNT;
    IF locked < cardinality(conversations) THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = format('There is no conversation %s.', (
                SELECT wanted FROM unnest(conversations) AS wanted
                WHERE NOT EXISTS (SELECT 1 FROM messaging_conversation WHERE id = wanted) LIMIT 1)),
            HINT = 'Insert the row in messaging_conversation first.';
    END IF;
END
$$;

-- Give each of these new or changed messages its conversation's next number, in id order.
CREATE FUNCTION messaging_number(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    conversations uuid[] := ARRAY(
        SELECT DISTINCT conversation_id FROM messaging_message WHERE id = ANY (ids));
    before text;
BEGIN
    PERFORM messaging_lock(conversations);
    before := messaging_write_as('journal');
    WITH numbered AS (
        SELECT m.id, c.last_seq + row_number() OVER (PARTITION BY c.id ORDER BY m.id) AS number
        FROM messaging_message m JOIN messaging_conversation c ON c.id = m.conversation_id
        WHERE m.id = ANY (ids)
    )
    UPDATE messaging_message m SET seq = n.number,
        position = CASE WHEN m.position < 0 THEN n.number ELSE m.position END
        FROM numbered n WHERE n.id = m.id;
    UPDATE messaging_conversation c SET last_seq = n.last
        FROM (SELECT conversation_id, max(seq) AS last FROM messaging_message
              WHERE id = ANY (ids) GROUP BY conversation_id) n
        WHERE c.id = n.conversation_id;
    PERFORM messaging_write_as(before);
    PERFORM messaging_announce(ARRAY(SELECT 'conversation.' || id FROM unnest(conversations) AS id));
END
$$;

-- Append one system message per pair of conversation and body, in the order given; their numbers.
CREATE FUNCTION messaging_append_system(conversations uuid[], bodies jsonb[]) RETURNS bigint[]
LANGUAGE plpgsql AS $$
DECLARE
    before text;
    numbers bigint[];
BEGIN
    PERFORM messaging_lock(ARRAY(SELECT DISTINCT id FROM unnest(conversations) AS id));
    before := messaging_write_as('journal');
    WITH numbered AS (
        SELECT c.id, e.body, e.place,
            c.last_seq + row_number() OVER (PARTITION BY c.id ORDER BY e.place) AS number
        FROM unnest(conversations, bodies) WITH ORDINALITY AS e (conversation_id, body, place)
        JOIN messaging_conversation c ON c.id = e.conversation_id
    ), written AS (
        INSERT INTO messaging_message (conversation_id, seq, position, kind, body)
        SELECT id, number, number, 'system', body::text FROM numbered ORDER BY place
    ), advanced AS (
        UPDATE messaging_conversation c SET last_seq = n.last
        FROM (SELECT id, max(number) AS last FROM numbered GROUP BY id) n WHERE c.id = n.id
    )
    SELECT array_agg(number ORDER BY place) INTO numbers FROM numbered;
    PERFORM messaging_write_as(before);
    RETURN numbers;
END
$$;

-- Raise the inbox versions of these users, so that the news is found even if the hint is lost.
CREATE FUNCTION messaging_bump(users uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO messaging_inbox (user_id, version)
        SELECT DISTINCT id, 1 FROM unnest(users) AS id ORDER BY id
        ON CONFLICT (user_id) DO UPDATE SET version = messaging_inbox.version + 1;
END
$$;
