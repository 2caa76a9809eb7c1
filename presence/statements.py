"""What the roster asks of the database, each statement a transaction of its own, all by database time.

Laws: whatever may wait for a foreign lock waits within the roster's `lock_timeout`; whoever holds a
device's row holds up no other, `last_seen` then stays that of an earlier session.
"""

REGISTER = "INSERT INTO presence_node (name, lease) VALUES (%s, now() + make_interval(secs => %s)) RETURNING id::text"
BEAT = """
UPDATE presence_node SET lease = now() + make_interval(secs => %s) WHERE id = %s
RETURNING extract(epoch FROM now())::float8
"""
# The nodes in `dead` go with their connections; their users were here until the lease was over. In one
# statement, so that nobody finds a node that still stands without the sessions that it holds.
_BURY = """,
     removed AS (DELETE FROM presence_node WHERE id IN (SELECT id FROM dead)),
     gone AS (DELETE FROM presence_connection c USING dead WHERE c.node_id = dead.id
              RETURNING c.device_id AS id, dead.until),
     free AS (SELECT d.id FROM presence_device d WHERE d.id IN (SELECT id FROM gone)
                 FOR NO KEY UPDATE SKIP LOCKED),
     seen AS (UPDATE presence_device d SET last_seen = greatest(d.last_seen, g.until)
                FROM (SELECT id, max(until) AS until FROM gone GROUP BY id) g
               WHERE d.id = g.id AND d.id IN (SELECT id FROM free))
SELECT DISTINCT d.user_id::text FROM gone g JOIN presence_device d ON d.id = g.id
"""
# One lease after it ran out nobody can still be using a node. Nobody has a lease of ten: the clock went back since
# that one was renewed, and whoever lives has renewed theirs. Nobody is reaped if the clock is not
# where the last beat has it, for it made a step in between.
REAP = f"""
WITH dead AS (SELECT id, least(lease, now()) AS until FROM presence_node, make_interval(secs => %s) AS one, to_timestamp(%s) AS told
               WHERE NOT lease BETWEEN now() - one AND now() + 10 * one
                 AND now() BETWEEN told - one AND told + one
                 FOR UPDATE OF presence_node SKIP LOCKED){_BURY}"""
GIVE_UP = f"""
WITH dead AS (SELECT id, least(lease, now()) AS until FROM presence_node
               WHERE id = %s::uuid FOR UPDATE){_BURY}"""

# FOR SHARE makes this wait for a revocation under way, and a revocation wait for this.
ARRIVE = """
WITH hello AS (SELECT * FROM unnest(%s::bytea[]) WITH ORDINALITY AS h (hash, n)),
     here AS (SELECT d.id, d.user_id, d.token_hash FROM presence_device d
               WHERE d.token_hash = ANY (%s::bytea[]) AND d.revoked IS NULL
                 AND EXISTS (SELECT FROM {users} u WHERE u.id = d.user_id AND u.is_active) FOR SHARE OF d),
     session AS MATERIALIZED (SELECT h.n, lockstep_uuid() AS id, here.id AS device, here.user_id
                                FROM hello h JOIN here ON here.token_hash = h.hash),
     stored AS (INSERT INTO presence_connection (id, device_id, node_id) SELECT id, device, %s::uuid FROM session)
SELECT n, device::text, user_id::text, id::text FROM session
"""
# A node that was registered in vain (its answer was lost) may have taken them already.
READMIT = """
INSERT INTO presence_connection (id, device_id, node_id, state)
SELECT s.id, s.device, %s, s.state FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS s (id, device, state)
  JOIN presence_device d ON d.id = s.device
    ON CONFLICT (id) DO UPDATE SET node_id = EXCLUDED.node_id
"""
LEAVE = """
WITH gone AS (DELETE FROM presence_connection WHERE id = ANY (%s::uuid[]) RETURNING device_id),
     free AS (SELECT d.id FROM presence_device d WHERE d.id IN (SELECT device_id FROM gone) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE presence_device SET last_seen = now() WHERE id IN (SELECT id FROM free)
"""
# What a broken statement may have left behind: this node lives on, so no lease would ever clear it.
SWEEP = """
WITH gone AS (DELETE FROM presence_connection WHERE node_id = %s::uuid AND NOT id = ANY (%s::uuid[]) RETURNING device_id),
     free AS (SELECT d.id FROM presence_device d WHERE d.id IN (SELECT device_id FROM gone) FOR NO KEY UPDATE SKIP LOCKED),
     seen AS (UPDATE presence_device SET last_seen = now() WHERE id IN (SELECT id FROM free))
SELECT DISTINCT d.user_id::text FROM gone g JOIN presence_device d ON d.id = g.device_id
"""

# A session that somebody asked to end stays so until its process has ended it.
SET_STATES = """
UPDATE presence_connection c SET state = s.state FROM unnest(%s::uuid[], %s::text[]) AS s (id, state)
 WHERE c.id = s.id AND c.state <> 'ending'
"""
# Two statements, for the second sees what somebody else inserted while the first one waited.
MAKE_STATUSES = "INSERT INTO presence_status (user_id) SELECT unnest(%s::uuid[]) ON CONFLICT (user_id) DO NOTHING"
DESCRIBE = """
UPDATE presence_status s
   SET text = coalesce(d.text, s.text), invisible = coalesce(d.invisible, s.invisible), changed = now(),
       text_until = CASE WHEN d.text IS NULL AND d.until IS NULL THEN s.text_until ELSE to_timestamp(d.until / 1000.0) END
  FROM unnest(%s::uuid[], %s::text[], %s::bigint[], %s::boolean[]) AS d (user_id, text, until, invisible)
 WHERE s.user_id = d.user_id
"""
# Only while our node stands: one that was taken for dead has no rows, and gets them back.
MISSING = """
SELECT s.id::text FROM unnest(%s::uuid[]) AS s (id)
 WHERE EXISTS (SELECT FROM presence_node n WHERE n.id = %s::uuid AND n.lease > now())
   AND NOT EXISTS (SELECT FROM presence_connection c WHERE c.id = s.id AND c.state <> 'ending')
"""

REVOKE = "UPDATE presence_device SET revoked = now() WHERE id = %s AND revoked IS NULL"
REVOKED = """
SELECT d.id::text FROM presence_device d
 WHERE d.id = ANY (%s::uuid[])
   AND (d.revoked IS NOT NULL OR NOT EXISTS (SELECT FROM {users} u WHERE u.id = d.user_id AND u.is_active))
"""
HELD = """
SELECT 1 FROM presence_connection c JOIN presence_node n ON n.id = c.node_id
 WHERE c.device_id = %s AND n.lease > now() LIMIT 1
"""
