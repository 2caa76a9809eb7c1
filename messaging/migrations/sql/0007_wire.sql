-- A message as the wire shows it, as in 0003, with its files. The last one has a default so that a server
-- of the version before can still call it.
DROP FUNCTION messaging_wire;
CREATE FUNCTION messaging_wire(
    id uuid, seq bigint, "position" bigint, kind text, body text, version integer, created timestamptz,
    device uuid, "user" uuid, client_id text, reply_to uuid, edited timestamptz, deleted timestamptz,
    attachments jsonb DEFAULT NULL)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT concat('{"id":"', id, '","seq":', seq, ',"position":', "position", ',"kind":"', kind,
        '","body":', to_json(body), ',"version":', version,
        ',"created":', (extract(epoch FROM created) * 1000)::bigint,
        ',"device":"' || device || '"', ',"user":"' || "user" || '"', ',"client_id":' || to_json(client_id),
        ',"reply_to":"' || reply_to || '"', ',"edited":' || (extract(epoch FROM edited) * 1000)::bigint,
        ',"deleted":' || (extract(epoch FROM deleted) * 1000)::bigint,
        ',"attachments":' || attachments::text, '}')
$$;
