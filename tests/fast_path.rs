//! The fast path: a message of the protocol calls a function by its number, with arguments as bytes and without any
//! expression around it. Whatever those bytes are, the answer is a value or an error, and the server goes on.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use thorbis_tests::{A, Database, as_owner, ok, one};
use uuid::Uuid;

/// A connection that speaks the protocol itself.
struct Wire {
    stream: UnixStream,
}

/// What the server said until it was ready again.
#[derive(Debug, PartialEq)]
enum Answer {
    Value(Option<Vec<u8>>),
    Error(String),
    Nothing,
}

impl Wire {
    fn connect(db: &Database, role: &str) -> Wire {
        let cluster = db.cluster();
        let path = format!("{}/.s.PGSQL.{}", cluster.host, cluster.port);
        let mut wire = Wire { stream: UnixStream::connect(path).expect("the server's socket") };
        let startup = format!("\0\x03\0\0user\0{role}\0database\0{}\0\0", db.name);
        wire.send(None, startup.as_bytes());
        assert_eq!(wire.answer(), Answer::Nothing);
        wire
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) {
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend((body.len() as i32 + 4).to_be_bytes());
        message.extend(body);
        self.stream.write_all(&message).expect("the server takes it");
    }

    /// Fails when the server closes the connection, as it does when any of its processes crashes.
    #[track_caller]
    fn answer(&mut self) -> Answer {
        let mut answer = Answer::Nothing;
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).expect("the server still answers");
            let length = i32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize - 4;
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).expect("the server still answers");
            match head[0] {
                b'Z' => return answer,
                b'E' => {
                    let code = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"));
                    answer = Answer::Error(String::from_utf8_lossy(code.expect("errors have a code")).into_owned());
                }
                b'V' => answer = Answer::Value((body[..4] != [255; 4]).then(|| body[4..].to_vec())),
                _ => {}
            }
        }
    }

    #[track_caller]
    fn query(&mut self, sql: &str) -> Answer {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes());
        self.answer()
    }

    /// In a transaction of this user: the function of that number with these bytes, all binary or all text.
    #[track_caller]
    fn call(&mut self, user: Uuid, function: u32, binary: bool, arguments: &[Option<&[u8]>]) -> Answer {
        self.query("ROLLBACK");
        let begin = format!("BEGIN; SELECT thorbis.set_context('{}', '{user}')", A.id);
        assert_eq!(self.query(&begin), Answer::Nothing);
        let format = i16::from(binary).to_be_bytes();
        let mut body = function.to_be_bytes().to_vec();
        body.extend(1_i16.to_be_bytes());
        body.extend(format);
        body.extend((arguments.len() as i16).to_be_bytes());
        for argument in arguments {
            body.extend(argument.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
            body.extend(argument.unwrap_or_default());
        }
        body.extend(format);
        self.send(Some(b'F'), &body);
        self.answer()
    }
}

fn oid(db: &Database, function: &str) -> u32 {
    one(&mut db.superuser(), "SELECT $1::text::regprocedure::oid", &[&function])
}

fn error(code: &str) -> Answer {
    Answer::Error(code.to_owned())
}

/// Bytes that, taken for the header of a text, give it any length: one byte, four, compressed, kept elsewhere.
const BYTES: [[u8; 16]; 7] = [
    [1, 1, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41],
    [1, 18, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41],
    [0xff; 16],
    [0; 16],
    [0xfc, 0xff, 0xff, 0x7f, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41],
    [2, 0, 0, 0x40, 0xff, 0xff, 0xff, 0x7f, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41],
    [3, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41, 0x41],
];
const EMAIL: &[u8] = b"shared.customers.email";

#[test]
fn uuid_of_any_bytes_crashes_no_server() {
    let db = Database::untouched();
    let mut app = Wire::connect(db, "app_login");
    for name in ["decrypt_pii(text, text, uuid)", "mask_pii(text, text, uuid)"] {
        let function = oid(db, name);
        for bytes in &BYTES {
            for text in [&b"THv1"[..], b"no envelope", &[0x41; 200]] {
                let arguments = [Some(text), Some(EMAIL), Some(&bytes[..])];
                assert_eq!(app.call(A.owner, function, true, &arguments), error("22000"), "{name} {bytes:?}");
            }
            let unknown = [Some(&b"THv1"[..]), Some(&b"a.b.c"[..]), Some(&bytes[..])];
            assert_eq!(app.call(A.employee, function, true, &unknown), error("42501"), "{name} {bytes:?}");
        }
        // Fewer or more bytes are no uuid, and NULL is NULL.
        for bytes in [&[][..], &[1], &[1; 15], &[1; 17]] {
            let arguments = [Some(&b"x"[..]), Some(EMAIL), Some(bytes)];
            assert!(matches!(app.call(A.owner, function, true, &arguments), Answer::Error(_)), "{name} {bytes:?}");
        }
        let nothing = app.call(A.owner, function, true, &[Some(b"x"), Some(EMAIL), None]);
        assert_eq!(nothing, Answer::Value(None), "{name}");
    }
    assert_eq!(app.call(A.employee, oid(db, "decrypt_pii(text, text, uuid)"), true, &[None; 3]), Answer::Value(None));
    assert_eq!(app.query("ROLLBACK"), Answer::Nothing);
    ok(db.app().batch_execute("SELECT 1"));
}

/// The path is not closed: what a statement would read it reads, and no more.
#[test]
fn functions_of_personal_data_answer_as_in_a_statement() {
    let db = Database::untouched();
    let read = "SELECT email_encrypted FROM shared.customers WHERE id = $1";
    let envelope: String = one(&mut db.superuser(), read, &[&A.customer]);
    let own: String = as_owner(db, &A, |tx| Ok(one(tx, "SELECT encrypt_pii('ada@example.com')", &[])));
    let (envelope, own) = (envelope.as_bytes(), own.as_bytes());
    let mut app = Wire::connect(db, "app_login");
    let value = |text: &str| Answer::Value(Some(text.as_bytes().to_vec()));
    let written = A.customer.to_string();
    for (binary, id) in [(true, A.customer.as_bytes().as_slice()), (false, written.as_bytes())] {
        for (name, clear) in [("decrypt_pii", "carla@aaaaaaaa.example"), ("mask_pii", "c***@aaaaaaaa.example")] {
            let place = [Some(envelope), Some(EMAIL), Some(id)];
            let of_uuid = oid(db, &format!("{name}(text, text, uuid)"));
            assert_eq!(app.call(A.owner, of_uuid, binary, &place), value(clear), "{name}");
            let place = [Some(envelope), Some(EMAIL), Some(written.as_bytes())];
            let of_text = oid(db, &format!("{name}(text, text, text)"));
            assert_eq!(app.call(A.owner, of_text, binary, &place), value(clear), "{name}");
        }
        let decrypt = oid(db, "decrypt_pii(text, text, uuid)");
        let place = [Some(envelope), Some(EMAIL), Some(id)];
        assert_eq!(app.call(A.employee, decrypt, binary, &place), error("42501"));
        let decrypt = oid(db, "decrypt_pii(text)");
        assert_eq!(app.call(A.owner, decrypt, binary, &[Some(own)]), value("ada@example.com"));
        assert_eq!(app.call(A.owner, decrypt, binary, &[Some(envelope)]), error("22000"));
        assert_eq!(app.call(A.employee, decrypt, binary, &[Some(own)]), error("42501"));
        for (name, arguments) in [
            ("encrypt_pii(text)", &[Some(&b"x"[..])][..]),
            ("encrypt_pii(text, text, text)", &[Some(b"x"), Some(b"a.b.c"), Some(b"r")]),
        ] {
            let sealed = app.call(A.owner, oid(db, name), binary, arguments);
            let Answer::Value(Some(sealed)) = sealed else { panic!("{name}: {sealed:?}") };
            assert!(sealed.starts_with(b"THv1"), "{name}");
            let empty: Vec<_> = arguments.iter().map(|_| Some(&b""[..])).collect();
            assert_eq!(app.call(A.owner, oid(db, name), binary, &empty), Answer::Value(None), "{name}");
        }
    }
}

/// Every function that the application may call: garbage, nothing, and a wrong number of arguments.
#[test]
fn no_function_of_the_application_crashes_the_server() {
    let db = Database::new();
    let sql = "SELECT p.oid, p.oid::regprocedure::text, p.pronargs::int4 FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
                WHERE p.prokind = 'f' AND l.lanname IN ('c', 'internal') AND p.probin LIKE '%thorbis_db%'
                  AND has_function_privilege('app_login', p.oid, 'EXECUTE')";
    let functions = ok(db.superuser().query(sql, &[]));
    assert!(functions.len() > 20, "only {} functions", functions.len());
    let mut app = Wire::connect(&db, "app_login");
    for row in functions {
        let (function, name, count): (u32, String, i32) = (row.get(0), row.get(1), row.get(2));
        println!("{name}");
        let count = count as usize;
        for bytes in BYTES.iter().map(|bytes| Some(&bytes[..])).chain([None, Some(&b""[..]), Some(&b"x"[..])]) {
            app.call(A.owner, function, true, &vec![bytes; count]);
            app.call(A.owner, function, false, &vec![bytes; count]);
        }
        for wrong in [0, count + 1] {
            let answer = app.call(A.owner, function, true, &vec![None; wrong]);
            assert!(wrong == count || matches!(answer, Answer::Error(_)), "{name}: {answer:?}");
        }
    }
    assert_eq!(app.query("ROLLBACK"), Answer::Nothing);
}
