//! The status engine, on a table of the DBA's own: what it lets pass, what it refuses, and what it writes down.

use postgres::{Client, Error};
use thorbis_tests::{A, B, Database, assert_sqlstate, in_context, ok, one, set_local};
use uuid::Uuid;

/// Tickets go from open to done, and may be reopened by those who hold orders:void; `settled` comes about by itself.
const SETUP: &str = "
CREATE SCHEMA desk;
CREATE TABLE desk.tickets (
    tenant_id uuid NOT NULL DEFAULT public.get_current_tenant_id(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    title text, status text NOT NULL DEFAULT 'open', owner_note text,
    opened_at timestamptz, done_at timestamptz, settled_at timestamptz, due_at timestamptz,
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id) REFERENCES shared.tenants (id) ON DELETE CASCADE);
ALTER TABLE desk.tickets OWNER TO thorbis_owner;
CREATE TRIGGER write_tickets_status BEFORE INSERT OR UPDATE ON desk.tickets
    FOR EACH ROW EXECUTE FUNCTION public.check_status_transition('ticket');
CREATE TRIGGER write_tickets_status_history AFTER INSERT OR UPDATE ON desk.tickets
    FOR EACH ROW EXECUTE FUNCTION public.record_status_change('ticket');
SELECT thorbis.protect('desk.tickets', 'orders', '{\"not_personal\": [\"title\", \"status\", \"owner_note\"]}');
CREATE FUNCTION desk.check_closing(old jsonb, new jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF new ->> 'title' = 'broken' THEN RAISE EXCEPTION USING ERRCODE = '22012', MESSAGE = 'guard broke'; END IF;
    -- It sees rows that the caller may not, and names the tenant.
    IF (SELECT count(*) FROM desk.tickets t WHERE t.tenant_id = (new ->> 'tenant_id')::uuid AND t.title = 'blocker') > 0 THEN
        RETURN 'a blocker is open';
    END IF;
    IF old ->> 'status' <> 'open' OR new ->> 'done_at' IS NULL THEN RETURN 'wrong images'; END IF;
    RETURN NULL;
END $$;
INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action, sets_column, guard) VALUES
    ('ticket', '', 'open', 'orders', 'create', 'opened_at', NULL),
    ('ticket', 'open', 'done', 'orders', 'create', 'done_at', 'desk.check_closing'),
    ('ticket', 'open', 'cancelled', 'orders', 'void', NULL, NULL),
    ('ticket', 'done', 'open', 'orders', 'void', 'opened_at', NULL),
    ('ticket', 'done', 'settled', NULL, NULL, 'settled_at', NULL);
GRANT USAGE ON SCHEMA desk TO thorbis_owner";

fn desk() -> Database {
    let db = Database::new();
    ok(db.superuser().batch_execute(SETUP));
    db
}

fn open_ticket(client: &mut Client, user: Uuid) -> Uuid {
    ok(in_context(client, A.id, user, |tx| {
        Ok(tx.query_one("INSERT INTO desk.tickets DEFAULT VALUES RETURNING id", &[])?.get(0))
    }))
}

fn change(client: &mut Client, user: Uuid, id: Uuid, set: &str) -> Result<u64, Error> {
    in_context(client, A.id, user, |tx| tx.execute(&format!("UPDATE desk.tickets SET {set} WHERE id = $1"), &[&id]))
}

/// The employee reads and creates orders; the update permission is what the policy wants.
fn let_employee_update(db: &Database) {
    let sql =
        "INSERT INTO rbac.role_permissions (tenant_id, role_id, resource, action) VALUES ($1, $2, 'orders', 'update')";
    ok(db.superuser().execute(sql, &[&A.id, &A.employee_role]));
}

// --- transitions

#[test]
fn status_goes_where_the_table_says_and_nowhere_else() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    let error = assert_sqlstate(change(&mut app, A.owner, id, "status = 'settled'"), "23514");
    assert_eq!(error.message(), "\"ticket\" cannot go from \"open\" to \"settled\"");
    assert_eq!(error.detail(), Some("Possible: cancelled, done."));
    assert_eq!(ok(change(&mut app, A.owner, id, "status = 'open'")), 1, "the same status is no change");
    assert_eq!(ok(change(&mut app, A.owner, id, "status = 'cancelled'")), 1);
    let error = assert_sqlstate(change(&mut app, A.owner, id, "status = 'open'"), "23514");
    assert_eq!(error.detail(), Some("Nothing follows it."));
}

#[test]
fn documents_begin_with_a_first_status() {
    let db = desk();
    let made = in_context(&mut db.app(), A.id, A.owner, |tx| {
        tx.execute("INSERT INTO desk.tickets (status) VALUES ('done')", &[])
    });
    let error = assert_sqlstate(made, "23514");
    assert_eq!(error.message(), "\"ticket\" cannot begin with the status \"done\"");
    assert_eq!(error.detail(), Some("Possible: open."));
}

#[test]
fn documents_without_rules_are_refused() {
    let db = desk();
    ok(db.superuser().batch_execute("DELETE FROM shared.state_transitions WHERE document = 'ticket'"));
    let made =
        in_context(&mut db.app(), A.id, A.owner, |tx| tx.execute("INSERT INTO desk.tickets DEFAULT VALUES", &[]));
    let error = assert_sqlstate(made, "42704");
    assert!(error.message().contains("no rows for the document \"ticket\""), "{}", error.message());
}

/// A rule that another session has just committed holds at once: nothing is kept.
#[test]
fn rules_that_change_hold_at_once() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    let mut superuser = db.superuser();
    ok(superuser
        .batch_execute("DELETE FROM shared.state_transitions WHERE document = 'ticket' AND to_status = 'cancelled'"));
    assert_sqlstate(change(&mut app, A.owner, id, "status = 'cancelled'"), "23514");
    ok(superuser.batch_execute(
        "INSERT INTO shared.state_transitions (document, from_status, to_status, resource, action)
         VALUES ('ticket', 'open', 'cancelled', 'orders', 'void')",
    ));
    ok(change(&mut app, A.owner, id, "status = 'cancelled'"));
}

#[test]
fn transition_needs_its_permission() {
    let db = desk();
    let_employee_update(&db);
    let mut app = db.app();
    let id = open_ticket(&mut app, A.employee);
    let error = assert_sqlstate(change(&mut app, A.employee, id, "status = 'cancelled'"), "42501");
    assert_eq!(error.message(), "permission denied: orders:void is required");
    assert_eq!(ok(change(&mut app, A.employee, id, "status = 'done'")), 1);
}

#[test]
fn what_comes_about_by_itself_is_done_by_nobody_but_jobs_and_our_own_code() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    ok(change(&mut app, A.owner, id, "status = 'done'"));
    let error = assert_sqlstate(change(&mut app, A.owner, id, "status = 'settled'"), "42501");
    assert!(error.message().ends_with("by itself only"), "{}", error.message());
    let mut job = db.superuser();
    ok(job.execute("UPDATE desk.tickets SET status = 'settled' WHERE id = $1", &[&id]));
    assert!(one::<bool>(&mut job, "SELECT settled_at IS NOT NULL FROM desk.tickets WHERE id = $1", &[&id]));
    // The rules hold for everybody; only permissions are not asked of a job.
    let platform = db.role("operator", "LOGIN IN ROLE thorbis_platform");
    let mut platform = db.connect_as(&platform);
    ok(platform.batch_execute("SET ROLE thorbis_platform"));
    let forbidden = platform.execute("UPDATE desk.tickets SET status = 'open' WHERE id = $1", &[&id]);
    assert_sqlstate(forbidden, "23514");
    let other = open_ticket(&mut app, A.owner);
    ok(platform.execute("UPDATE desk.tickets SET status = 'cancelled' WHERE id = $1", &[&other]));
    // Nor is it asked of code that acts as the owner of the table, whoever the user is.
    let third = open_ticket(&mut app, A.owner);
    ok(change(&mut app, A.owner, third, "status = 'done'"));
    let mut superuser = db.superuser();
    ok(in_context(&mut superuser, A.id, A.employee, |tx| {
        tx.batch_execute("ALTER TABLE desk.tickets NO FORCE ROW LEVEL SECURITY; SET LOCAL ROLE thorbis_owner")?;
        tx.execute("UPDATE desk.tickets SET status = 'settled' WHERE id = $1", &[&third])
    }));
}

// --- times

#[test]
fn times_of_transitions_cannot_be_forged() {
    let db = desk();
    let mut app = db.app();
    let id: Uuid = ok(in_context(&mut app, A.id, A.owner, |tx| {
        let made =
            "INSERT INTO desk.tickets (opened_at, done_at, due_at) VALUES ('2001-01-01', '2001-01-01', '2001-01-01')
                    RETURNING id, opened_at = now() AND done_at IS NULL AND due_at = '2001-01-01'";
        let row = tx.query_one(made, &[])?;
        assert!(row.get::<_, bool>(1), "only the transition's own time is set");
        Ok(row.get(0))
    }));
    ok(change(&mut app, A.owner, id, "status = 'done', done_at = '2001-01-01', opened_at = '2001-01-01'"));
    ok(change(&mut app, A.owner, id, "done_at = '2001-01-01', opened_at = NULL, settled_at = now(), due_at = now()"));
    let kept = "SELECT done_at > now() - interval '1 hour' AND opened_at > now() - interval '1 hour'
                       AND settled_at IS NULL AND due_at > '2001-01-02' FROM desk.tickets WHERE id = $1";
    assert!(one::<bool>(&mut db.superuser(), kept, &[&id]));
}

#[test]
fn imports_bring_their_times_along() {
    let db = desk();
    let mut job = db.superuser();
    let insert = "INSERT INTO desk.tickets (tenant_id, opened_at) VALUES ($1, '2001-01-01') RETURNING id";
    let id: Uuid = one(&mut job, insert, &[&A.id]);
    ok(job.execute("UPDATE desk.tickets SET status = 'done', done_at = '2001-01-02' WHERE id = $1", &[&id]));
    let kept = "SELECT opened_at = '2001-01-01' AND done_at = '2001-01-02' FROM desk.tickets WHERE id = $1";
    assert!(one::<bool>(&mut job, kept, &[&id]));
    let now: bool =
        one(&mut job, "INSERT INTO desk.tickets (tenant_id) VALUES ($1) RETURNING opened_at = now()", &[&A.id]);
    assert!(now, "what is not given is set");
}

#[test]
fn imports_bring_documents_as_they_are() {
    let db = desk();
    let mut job = db.superuser();
    ok(job.execute("INSERT INTO desk.tickets (tenant_id, status) VALUES ($1, 'settled')", &[&A.id]));
    let unknown = job.execute("INSERT INTO desk.tickets (tenant_id, status) VALUES ($1, 'lost')", &[&A.id]);
    assert_sqlstate(unknown, "23514");
}

// --- guards

#[test]
fn guard_says_why_not() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    let blocker = "INSERT INTO desk.tickets (tenant_id, title) VALUES ($1, 'blocker')";
    ok(db.superuser().execute(blocker, &[&B.id]));
    ok(db.superuser().execute(blocker, &[&A.id]));
    let error = assert_sqlstate(change(&mut app, A.owner, id, "status = 'done'"), "23514");
    assert_eq!(error.message(), "\"ticket\" cannot go from \"open\" to \"done\": a blocker is open");
    ok(db.superuser().execute("DELETE FROM desk.tickets WHERE tenant_id = $1 AND title = 'blocker'", &[&A.id]));
    assert_eq!(ok(change(&mut app, A.owner, id, "status = 'done'")), 1, "that of the other tenant does not count");
}

/// The employee creates tickets and reads none: nor transitions, nor the history, which get written all the same.
#[test]
fn caller_who_sees_nothing_is_held_to_the_rules_too() {
    let db = desk();
    ok(db.superuser().batch_execute(&format!(
        "DELETE FROM rbac.role_permissions WHERE role_id = '{0}' AND resource = 'orders' AND action = 'read';
         REVOKE SELECT ON shared.state_transitions FROM thorbis_app;
         UPDATE shared.state_transitions SET guard = 'desk.check_opening' WHERE document = 'ticket' AND from_status = '';
         CREATE FUNCTION desk.check_opening(old jsonb, new jsonb) RETURNS text LANGUAGE sql AS $$
             SELECT 'too many' FROM desk.tickets t WHERE t.tenant_id = (new ->> 'tenant_id')::uuid HAVING count(*) >= 2 $$",
        A.employee_role
    )));
    let mut app = db.app();
    let mut insert =
        || in_context(&mut app, A.id, A.employee, |tx| tx.execute("INSERT INTO desk.tickets DEFAULT VALUES", &[]));
    assert_eq!((ok(insert()), ok(insert())), (1, 1));
    let error = assert_sqlstate(insert(), "23514");
    assert!(error.message().ends_with(": too many"), "{}", error.message());
    let seen = ok(in_context(&mut db.app(), A.id, A.employee, |tx| tx.query("SELECT 1 FROM desk.tickets", &[]))).len();
    let written: i64 =
        one(&mut db.superuser(), "SELECT count(*) FROM shared.status_history WHERE document = 'ticket'", &[]);
    assert_eq!((seen, written), (0, 2));
}

#[test]
fn error_of_a_guard_travels_on() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    let error = assert_sqlstate(change(&mut app, A.owner, id, "status = 'done', title = 'broken'"), "22012");
    assert_eq!(error.message(), "guard broke");
    ok(db.superuser().batch_execute("DROP FUNCTION desk.check_closing(jsonb, jsonb)"));
    assert_sqlstate(change(&mut app, A.owner, id, "status = 'done'"), "42883");
}

/// A guard is asked about rows of the own tenant only: it could tell something about another's.
#[test]
fn row_for_another_tenant_is_refused_without_a_word_of_the_guard() {
    let db = desk();
    ok(db.superuser().batch_execute(
        "UPDATE shared.state_transitions SET guard = 'desk.check_opening' WHERE document = 'ticket' AND from_status = '';
         CREATE FUNCTION desk.check_opening(old jsonb, new jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'asked' $$",
    ));
    let insert = |tenant: Uuid| {
        in_context(&mut db.app(), A.id, A.owner, |tx| {
            tx.execute("INSERT INTO desk.tickets (tenant_id, status) VALUES ($1, 'open')", &[&tenant])
        })
    };
    let error = assert_sqlstate(insert(B.id), "42501");
    assert!(error.message().contains("row-level security"), "{}", error.message());
    let error = assert_sqlstate(insert(A.id), "23514");
    assert!(error.message().ends_with(": asked"), "{}", error.message());
}

// --- history

type Event = (String, String, Option<Uuid>, Option<String>);

fn history(db: &Database, id: Uuid) -> Vec<Event> {
    let sql = "SELECT from_status, to_status, actor_id, reason FROM shared.status_history
                WHERE tenant_id = $1 AND document = 'ticket' AND document_id = $2 ORDER BY at";
    let rows = ok(db.superuser().query(sql, &[&A.id, &id]));
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[test]
fn history_has_who_what_and_why_for_callers_who_cannot_read_it() {
    let db = desk();
    let_employee_update(&db);
    let mut app = db.app();
    let id = open_ticket(&mut app, A.employee);
    ok(in_context(&mut app, A.id, A.employee, |tx| {
        tx.batch_execute("SET LOCAL thorbis.status_reason = ' the guest left '")?;
        tx.execute("UPDATE desk.tickets SET status = 'done' WHERE id = $1", &[&id])
    }));
    ok(db.superuser().execute("UPDATE desk.tickets SET status = 'settled' WHERE id = $1", &[&id]));
    let event =
        |from: &str, to: &str, actor, reason: Option<&str>| (from.into(), to.into(), actor, reason.map(Into::into));
    assert_eq!(
        history(&db, id),
        [
            event("", "open", Some(A.employee), None),
            event("open", "done", Some(A.employee), Some("the guest left")),
            event("done", "settled", None, None),
        ]
    );
    let count = |user: Uuid| {
        ok(in_context(&mut db.app(), A.id, user, |tx| {
            tx.query_one("SELECT count(*) FROM shared.status_history WHERE document = 'ticket'", &[])
        }))
        .get::<_, i64>(0)
    };
    assert_eq!((count(A.employee), count(A.owner)), (0, 3));
}

/// On a pooled connection the next client must not explain its changes with the words of the one before.
#[test]
fn reason_of_an_earlier_transaction_does_not_count() {
    let db = desk();
    let mut app = db.app();
    ok(app.batch_execute(&format!(
        "BEGIN; {}; SET thorbis.status_reason = 'left over'; COMMIT",
        set_local(B.id, B.owner)
    )));
    assert_eq!(one::<String>(&mut app, "SHOW thorbis.status_reason", &[]), "left over");
    let id = open_ticket(&mut app, A.owner);
    assert_eq!(history(&db, id)[0].3, None);
}

#[test]
fn history_is_written_by_the_engine_alone() {
    let db = desk();
    let mut app = db.app();
    open_ticket(&mut app, A.owner);
    for sql in [
        "INSERT INTO shared.status_history (document, document_id, from_status, to_status)
         VALUES ('ticket', gen_random_uuid(), '', 'done')",
        "UPDATE shared.status_history SET reason = 'x'",
        "DELETE FROM shared.status_history",
        "TRUNCATE shared.status_history",
        "INSERT INTO shared.state_transitions (document, from_status, to_status) VALUES ('ticket', 'done', 'x')",
        "UPDATE shared.state_transitions SET resource = NULL, action = NULL",
    ] {
        assert_sqlstate(in_context(&mut app, A.id, A.owner, |tx| tx.execute(sql, &[])), "42501");
    }
    // Nor by those who hold the privileges.
    ok(db.superuser().batch_execute("GRANT ALL ON shared.status_history TO app_login; SELECT 1"));
    let deleted =
        in_context(&mut app, A.id, A.owner, |tx| tx.execute("UPDATE shared.status_history SET reason = 'x'", &[]));
    assert!(deleted.is_err() || deleted.is_ok_and(|rows| rows == 0), "no policy lets them either");
}

// --- what is possible

type Possible = (String, bool, Option<String>);

fn possible(client: &mut Client, user: Uuid, id: Uuid) -> Result<Vec<Possible>, Error> {
    in_context(client, A.id, user, |tx| {
        let rows =
            tx.query("SELECT to_status, allowed, reason FROM thorbis.allowed_transitions('ticket', $1)", &[&id])?;
        let assigned: Option<i64> = tx.query_one("SELECT txid_current_if_assigned()", &[])?.get(0);
        assert_eq!(assigned, None, "asking writes nothing, and so can be done on a standby");
        Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
    })
}

#[test]
fn interfaces_are_told_what_can_follow_and_why_not() {
    let db = desk();
    let mut app = db.app();
    let id = open_ticket(&mut app, A.owner);
    let row = |to: &str, allowed, reason: Option<&str>| (to.to_owned(), allowed, reason.map(str::to_owned));
    let all = [row("cancelled", true, None), row("done", true, None)];
    assert_eq!(ok(possible(&mut app, A.owner, id)), all);
    let some = [row("cancelled", false, Some("needs orders:void")), row("done", true, None)];
    assert_eq!(ok(possible(&mut app, A.employee, id)), some);
    ok(db.superuser().execute("INSERT INTO desk.tickets (tenant_id, title) VALUES ($1, 'blocker')", &[&A.id]));
    let blocked = [row("cancelled", true, None), row("done", false, Some("a blocker is open"))];
    assert_eq!(ok(possible(&mut app, A.owner, id)), blocked);
    ok(db.superuser().execute("UPDATE desk.tickets SET title = NULL WHERE tenant_id = $1", &[&A.id]));
    ok(change(&mut app, A.owner, id, "status = 'done'"));
    let done = [row("open", true, None), row("settled", false, Some("it comes about by itself"))];
    assert_eq!(ok(possible(&mut app, A.owner, id)), done);
}

#[test]
fn documents_of_others_do_not_exist() {
    let db = desk();
    let insert = "INSERT INTO desk.tickets (tenant_id) VALUES ($1) RETURNING id";
    let theirs: Uuid = one(&mut db.superuser(), insert, &[&B.id]);
    let mut app = db.app();
    let messages: Vec<String> = [theirs, Uuid::new_v4()]
        .into_iter()
        .map(|id| assert_sqlstate(possible(&mut app, A.owner, id), "P0002").message().to_owned())
        .collect();
    assert_eq!(messages[0], messages[1]);
    assert_sqlstate(app.query("SELECT * FROM thorbis.allowed_transitions('ticket', $1)", &[&theirs]), "P0002");
    let error = assert_sqlstate(
        app.query("SELECT * FROM thorbis.allowed_transitions('desk.tickets', $1)", &[&theirs]),
        "42704",
    );
    assert_eq!(error.message(), "no table has the trigger check_status_transition('desk.tickets')");
}
