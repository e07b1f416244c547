//! Secrets in texts that go on record, in whatever form and wherever they are cut.
#![allow(clippy::unwrap_used)]

use rollback_core::masking::{MAX_SECRETS, MOST_SECRETS, Part, Secrets};

fn mask(secrets: &Secrets, text: &str) -> String {
    secrets.mask(text, Part::Whole).unwrap()
}

fn given(values: &[&str]) -> Secrets {
    values.iter().fold(Secrets::default(), Secrets::given)
}

fn found(values: &[&str]) -> Secrets {
    values.iter().fold(Secrets::default(), Secrets::found)
}

fn headers(values: &[&str]) -> Secrets {
    values.iter().fold(Secrets::default(), Secrets::header)
}

/// Without a value: what looks secret.
fn looks(text: &str) -> String {
    mask(&Secrets::default(), text)
}

#[test]
fn the_beginning_of_a_secret_was_shown_where_a_program_was_killed_within_it() {
    let secrets = given(&["hunter2-and-more", "hunters"]);
    let broken = |text: &str| secrets.mask(text, Part::Head).unwrap();
    assert_eq!(broken("hunter2-and-more, hunter2-and"), "***, ***");
    assert_eq!(broken("the hunte"), "the ***");
    assert_eq!(broken("the hun"), "the ***");
    assert_eq!(broken("a hunter "), "a hunter ");
    assert_eq!(broken(r"the hun\u0074\u00"), "the ***");
    assert_eq!(broken("the hun%74%"), "the ***");
    assert_eq!(mask(&secrets, "the hunte"), "the hunte");
}

#[test]
fn what_is_left_of_a_secret_was_shown_where_a_log_was_cut_within_it() {
    let secrets = found(&["hunter2-hunter2"]);
    let tail = |text: &str| secrets.mask(text, Part::Tail).unwrap();
    assert_eq!(tail("er2-hunter2\nno table\nusers"), "no table\nusers");
    // Of one long line the rest is told.
    let line = format!("er2-hunter2{} no table\n", ".".repeat(200));
    assert_eq!(tail(&line), " no table\n");
    assert_eq!(tail("er2-hunter2"), "");
    let unlisted = Secrets::default().unlisted();
    assert_eq!(unlisted.mask("er2 no table", Part::Tail).unwrap(), "");
}

#[test]
fn a_part_of_a_secret_was_shown_where_a_program_says_no_more_of_it() {
    let url = "postgres://api:hunter2@db:5432/x?a=b@c";
    assert_eq!(
        mask(&found(&[url]), &format!("no {url}, hunter2 db:5432")),
        "no ***, *** db:5432"
    );
    let encoded = found(&["https://api:hunt%40er2@db/"]);
    assert_eq!(mask(&encoded, "hunt@er2 hunt%40er2"), "*** ***");
    let key = "-----BEGIN-----\r\n  MIIBVgIB\nADAN\n-----END-----\n";
    let secrets = found(&[key, "hunter2"]);
    let text = "it begins with MIIBVgIB: -----BEGIN-----\nADAN";
    assert_eq!(mask(&secrets, text), "it begins with ***: ***\nADAN");
    assert_eq!(mask(&secrets, &format!("{key}hunter2")), "******");
    for written in [
        "-----BEGIN-----\\r\\nMIIBVgIB\\nADAN\\n",
        r#"{"private_key": "-----BEGIN-----\nMIIBVgIB\nADAN\n"}"#,
    ] {
        let secrets = found(&[written]);
        assert_eq!(
            mask(&secrets, "x MIIBVgIB -----BEGIN----- ADAN"),
            "x *** *** ADAN",
            "{written}"
        );
    }
    let dsn = found(&["host=db password='hunter 22' dbname=api"]);
    assert_eq!(mask(&dsn, "hunter 22 of api"), "*** of api");
}

#[test]
fn what_is_short_would_garble_every_number() {
    assert_eq!(
        mask(&found(&["8080", " 12345\n"]), "8080 12345"),
        "8080 12345"
    );
    assert_eq!(
        mask(&given(&["808", "  \n  \n"]), "808  \n  \n"),
        "808  \n  \n"
    );
    assert_eq!(mask(&given(&["hunt"]), "the hunt"), "the ***");
}

#[test]
fn a_secret_with_a_colour_in_it_was_told() {
    let secrets = found(&["hunter2"]);
    for text in [
        "hun\u{1b}[1mter2",
        "hunt\rer2",
        "hunt\u{7}er2",
        "hunt\u{202e}er2",
        "hun\u{9b}0mter2",
        "hun\u{1b}(Bter2",
        r"hun\u001b[1mter2",
    ] {
        assert_eq!(
            mask(&secrets, &format!("no {text}!")),
            "no ***!",
            "{text:?}"
        );
    }
}

#[test]
fn a_secret_in_another_form_was_shown() {
    let secrets = given(&["a/b/c\\d\"e"]);
    assert_eq!(
        mask(&secrets, r#"{"no":"a\/b\/c\\d\"e", "a/b/c\\d\"e"}"#),
        r#"{"no":"***", "***"}"#
    );
    assert_eq!(
        mask(
            &secrets,
            r#"\"a\\/b/c\\\\d\\\"e\" a\u002Fb\x2fc\u005cd\u0022e"#
        ),
        r#"\"***\" ***"#
    );
    assert_eq!(mask(&secrets, "x=a%2Fb%2fc%5Cd%22e&y"), "x=***&y");
    let secrets = given(&["hun ter2é"]);
    assert_eq!(mask(&secrets, "hun+ter2%C3%A9 hun%20ter2é"), "*** ***");
    // In base64, by itself and in something longer, wherever that begins, and broken over lines.
    let secrets = given(&["hunter2?>"]);
    for encoded in [
        "aHVudGVyMj8-",
        "x/aHVudGVyMj8-",
        "aHVudGVyMj8+",
        "YTpodW50ZXIyPz4",
        "YWI6aHVudGVyMj8+Y2Q=",
        "YWJjOmh1bnRlcjI/Pg==",
        "YWJjOmh1bnR\nlcjI/Pg==",
        r"YWJjOmh1bnRlcjI\/Pg==",
    ] {
        let shown = mask(&secrets, &format!("data: {encoded}"));
        assert!(shown.contains("***") && shown.len() < 20, "{shown}");
    }
}

#[test]
fn the_beginning_of_a_secret_in_base64_was_shown_where_a_text_was_cut_within_it() {
    let secrets = given(&["hunter2-and-more"]);
    let text = "data: aHVudGVyMi1hbmQtbW9yZQ==";
    for to in "data: ".len()..=text.len() {
        let shown = secrets.mask(&text[..to], Part::Head).unwrap();
        let rest = shown.strip_prefix("data: ").unwrap();
        let few = rest.len() < 4 && text.contains(rest);
        assert!(few || rest.starts_with("***"), "{shown}");
        assert!(rest.len() < 6, "{shown}");
    }
}

#[test]
fn what_was_sent_in_confidence_came_back_in_an_error_page() {
    let secrets = headers(&["Bearer t0ken-of-ours", "session=c00kie; theme=dark", "yes"]);
    let secrets = secrets.query("key=qu3ry%2Fvalue&n=1");
    assert_eq!(
        mask(
            &secrets,
            "bad t0ken-of-ours, c00kie; cannot GET /up?key=qu3ry%2Fvalue&n=1, qu3ry/value: yes 1"
        ),
        "bad ***, ***; cannot GET /up?***, ***: yes 1"
    );
    let query = Secrets::default().query("key=a+b%2Bc");
    assert_eq!(
        mask(&query, "no a+b%2Bc, a b+c, a+b+c, a%20b"),
        "no ***, ***, ***, a%20b"
    );
    // Of `api:hun/ter2?`.
    for basic in ["Basic YXBpOmh1bi90ZXIyPw==", "basic YXBpOmh1bi90ZXIyPw"] {
        assert_eq!(
            mask(
                &headers(&[basic]),
                "api:hun/ter2? hun/ter2? YXBpOmh1bi90ZXIyPw"
            ),
            "*** *** ***"
        );
    }
    // Of `operator:pw`.
    let user = headers(&["Basic b3BlcmF0b3I6cHc="]);
    assert_eq!(mask(&user, "no operator here"), "no *** here");
}

#[test]
fn a_password_in_the_url_of_what_cannot_be_reached_was_shown() {
    for (text, shown) in [
        (r"no amqp://api:hun\ter2@mq", "no amqp://***@mq"),
        (
            "no postgres://api:hunter2@db/x, see http://help:80/me@home",
            "no postgres://***@db/x, see http://help:80/me@home",
        ),
        (
            r#"{"db":"postgres:\/\/api:hunter2@db\/x","at":"http:\/\/a\/b@c"}"#,
            r#"{"db":"postgres:\/\/***@db\/x","at":"http:\/\/a\/b@c"}"#,
        ),
        ("GET http://ghp_x@h/x", "GET http://***@h/x"),
        ("at postgres://api:hun/ter2@db/x", "at postgres://***@db/x"),
        ("at postgres://api:hun@t/er2@db/x", "at postgres://***@db/x"),
        ("at postgres://api:h?u#n@db/x", "at postgres://***@db/x"),
        ("see http://help:80", "see http://help:80"),
        (
            "see http://[::1]:80/a@b, http://h:80, x@y",
            "see http://[::1]:80/a@b, http://h:80, x@y",
        ),
        ("amqp://a:b@x,amqp://c:d@y", "amqp://***@y"),
    ] {
        assert_eq!(looks(text), shown);
    }
    let head = |text: &str| Secrets::default().mask(text, Part::Head).unwrap();
    // What is before the colon may be a token.
    assert_eq!(head("no http://ghp-ghp"), "no http://***");
    assert_eq!(head("no amqp://api:hun/t"), "no amqp://***");
    assert_eq!(head("no http://help:80/x"), "no http://help:80/x");
}

#[test]
fn what_stands_behind_the_name_of_a_secret_was_shown() {
    for (text, shown) in [
        ("DB_PASSWORD=hunter2 x", "DB_PASSWORD=*** x"),
        ("password: hunter2, x", "password: ***, x"),
        ("password = hun&t;er2", "password = ***"),
        ("/up?token=hunter2&n=1", "/up?token=***&n=1"),
        (
            "host=db password=hunter2 dbname=x",
            "host=db password=*** dbname=x",
        ),
        (r"password='hun\'ter 2' x", "password='***' x"),
        ("password='hun''ter 2' x", "password='***' x"),
        (
            "jdbc:x://h/d;user=a;password=hunter2;b=c",
            "jdbc:x://h/d;user=a;password=***;b=c",
        ),
        (
            "jdbc:x://h/d?user=a&password=hunter2",
            "jdbc:x://h/d?user=a&password=***",
        ),
        (
            r#"{"api_key": "hun\"ter2", "n": 1}"#,
            r#"{"api_key": "***", "n": 1}"#,
        ),
        (r#"{"apiKey":"hunter2","n":1}"#, r#"{"apiKey":"***","n":1}"#),
        (
            r#""{\"token\":\"hunter2\",\"n\":1}""#,
            r#""{\"token\":\"***\",\"n\":1}""#,
        ),
        (
            r#"{"tokens": ["hun]", "ter"], "n": 1}"#,
            r#"{"tokens": ***, "n": 1}"#,
        ),
        (
            r#"{"\u0070assword":"hunter2"}"#,
            r#"{"\u0070assword":"***"}"#,
        ),
        ("{:password=>\"hunter2\"}", "{:password=>\"***\"}"),
        (
            "Db { password: Some(\"hunter2\"), n: 1 }",
            "Db { password: Some(\"***\"), n: 1 }",
        ),
        ("env['TOKEN'] = 'hunter2'", "env['TOKEN'] = '***'"),
        ("q=password%3Dhunter2", "q=password%3D***"),
        ("mysql -u me -phunter2 db", "mysql -u me -p*** db"),
        (
            r#"["mariadb","-phunter2","db"]"#,
            r#"["mariadb","-p***","db"]"#,
        ),
        ("docker -p8080:80", "docker -p8080:80"),
        ("x --password hunter2 y", "x --password *** y"),
        ("x --password=hunter2 y", "x --password=*** y"),
        (
            r#"["--requirepass","hunter2","y"]"#,
            r#"["--requirepass","***","y"]"#,
        ),
        ("x --no-password --verbose", "x --no-password --verbose"),
        ("Authorization: Bearer abc def\nx", "Authorization: ***\nx"),
        ("curl -H 'Cookie: a=b; c=d' -v", "curl -H 'Cookie: ***' -v"),
        (
            r#"{"authorization":["Bearer a"],"n":1}"#,
            r#"{"authorization":***,"n":1}"#,
        ),
        (
            r#"{"Authorization": "Basic abc d"}"#,
            r#"{"Authorization": "***"}"#,
        ),
        ("sent Bearer ab12cd34ef", "sent Bearer ***"),
        (
            "x -----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- y",
            "x -----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY----- y",
        ),
    ] {
        assert_eq!(looks(text), shown, "{text}");
    }
}

#[test]
fn what_names_no_secret_stays_readable() {
    for text in [
        "",
        "no such unit",
        "FATAL: password authentication failed for user \"api\"",
        "duplicate key value violates unique constraint \"users_pkey\"",
        "error[E0433]: auth::login is not found",
        "2026-03-15T14:30:22+0000 key[42]: no table",
        "Bearer authentication failed, author: me",
        "PWD=/srv/api level=info",
        "schön, 正常\t***\n\n",
        "C:\\new\\table a%20b 100% \\u12",
    ] {
        assert_eq!(looks(text), text);
    }
}

#[test]
fn of_an_environment_that_nobody_has_listed_what_looks_secret_is_hidden() {
    let redacted = |text: &str| mask(&Secrets::default().unlisted(), text);
    assert_eq!(redacted("DB_PASSWORD=hunter2 x"), "DB_PASSWORD=***");
    assert_eq!(redacted("GET http://a:b@h/x"), "GET http://***@h/x");
    assert_eq!(redacted("Authorization: Bearer abc"), "Authorization:***");
    assert_eq!(redacted("no such unit\nor two"), "no such unit\nor two");
    assert_eq!(redacted("the token is hunter2\nx"), "the token ***\nx");
    assert_eq!(
        redacted("postgres://api:hunter2@db/x: password authentication failed"),
        "postgres://***@db/x: password ***"
    );
    assert_eq!(
        redacted("cloning https://bot:ghp_x@git.example/x: authentication required"),
        "cloning https://***@git.example/x: authentication ***"
    );
    assert_eq!(redacted("GET http://ghp_x@h/x"), "GET http://***@h/x");
    // What one rule hides is what the other goes by: neither undoes the other.
    assert_eq!(redacted("http://h/x?token=a@b c"), "http://***");
    assert_eq!(redacted("http://bot:a_key:b@h/x"), "http://***");
    assert_eq!(redacted("token=x http://a:b@h"), "token=***");
}

#[test]
fn of_secrets_without_an_end_nothing_is_told() {
    let of = |count: usize| {
        let values = (0..count).map(|n| format!("hunter{n:06}"));
        values.fold(Secrets::default(), Secrets::found)
    };
    let text = "hunter000000 hunter001000";
    assert_eq!(
        of(MOST_SECRETS).mask(text, Part::Whole).unwrap(),
        "*** hunter001000"
    );
    of(MOST_SECRETS + 1).mask(text, Part::Whole).unwrap_err();
    let told = of(MOST_SECRETS + 1).tell(text, Part::Whole);
    assert!(
        told.contains("more than 1000") && !told.contains("hunter"),
        "{told}"
    );
    of(MOST_SECRETS)
        .and(&of(1))
        .and(&given(&["other"]))
        .bounded()
        .unwrap_err();
    given(&[&"x".repeat(MAX_SECRETS + 1)])
        .bounded()
        .unwrap_err();
    let two = of(1).and(&given(&["other"]).unlisted());
    assert_eq!(
        mask(&two, "hunter000000 other token x"),
        "*** *** token ***"
    );
}

#[test]
fn secrets_are_not_shown_by_debug() {
    let shown = format!("{:?}", given(&["hunter2"]));
    assert!(!shown.contains("hunter2") && shown.contains('1'), "{shown}");
}

#[test]
fn words_that_everybody_has_were_hidden() {
    let secrets = found(&[
        "production",
        "https",
        "localhost",
        "Postgres",
        "application/json",
    ]);
    let text = "production: no https://localhost, postgresql is postgres, Accept: application/json";
    assert_eq!(mask(&secrets, text), text);
    // Who says that it is one is believed.
    assert_eq!(mask(&given(&["production"]), "in production"), "in ***");
}

#[test]
fn a_secret_that_is_one_of_several_in_a_value_was_shown() {
    let secrets = found(&[
        "tok3nA1b2, tok3nC3d4;x",
        "me:hunter22pw",
        r#"{"a":["k3yk3yk3y"]}"#,
    ]);
    for (text, shown) in [
        ("bad tok3nC3d4!", "bad ***!"),
        ("tok3nA1b2 is over", "*** is over"),
        ("not hunter22pw", "not ***"),
        ("no k3yk3yk3y", "no ***"),
    ] {
        assert_eq!(mask(&secrets, text), shown);
    }
    // A word, a path or a host is no secret by its looks.
    let plain = found(&["node --inspect app/server1.js db.example.org:5432 listening"]);
    let text = "app/server1.js: db.example.org is not listening";
    assert_eq!(mask(&plain, text), text);
}

#[test]
fn a_secret_in_html_in_a_shells_words_or_in_a_form_within_a_form_was_shown() {
    let secrets = given(&["hun&t'er 2$", "a b&c=d/e"]);
    for (text, shown) in [
        ("<p>hun&amp;t&#39;er 2$</p>", "<p>***</p>"),
        ("hun&amp;t&#x27;er 2&#36;", "***"),
        (r"x hun\&t\'er\ 2\$ y", "x *** y"),
        (r"'hun&t'\''er 2$'", "'***'"),
        ("q=a%2520b%2526c%253Dd%252Fe", "q=***"),
        (r#"{"u":"?a=a+b%26c%3Dd%2Fe"}"#, r#"{"u":"?a=***"}"#),
        ("&nothing; & &#; &#xzz; a&b", "&nothing; & &#; &#xzz; a&b"),
    ] {
        assert_eq!(mask(&secrets, text), shown, "{text}");
    }
}

#[test]
fn what_stands_below_the_name_of_a_secret_was_shown() {
    for (text, shown) in [
        (
            "password:\n  hunter2\nuser: me",
            "password:\n  ***\nuser: me",
        ),
        (
            "a:\n  key: |-\n    one\n\n    two\n  b: c",
            "a:\n  key: |-\n    ***\n  b: c",
        ),
        ("- token: >\n    hunter2", "- token: >\n    ***"),
        ("no password:\n  at line 3", "no password:\n  at line 3"),
        ("password:\nuser: me", "password:\nuser: me"),
        ("password:/K7gq2", "password:***"),
        ("password: b'hunter2' x", "password: ***' x"),
        ("token: Secret(\"hun ter2\")", "token: Secret(\"***\")"),
        ("?sig=abc&pw=def", "?sig=***&pw=***"),
    ] {
        assert_eq!(looks(text), shown, "{text}");
    }
}
