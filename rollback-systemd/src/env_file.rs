//! [`variables`]: what a file of variables sets, as systemd reads it.

/// A name's or a value's end may have these without meaning them.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A backslash between double quotes takes only these as they are; before others it stays.
const ESCAPED: [char; 4] = ['"', '\\', '`', '$'];

/// The variables that a file of them sets, each time it does (`EnvironmentFile=` in systemd.exec(5);
/// what that leaves open, as `src/basic/env-file.c` of systemd has it). A line that is neither a
/// variable nor a comment sets nothing.
pub(crate) fn variables(text: &str) -> Vec<(String, String)> {
    let mut reader = Reader::default();
    for c in text.chars() {
        reader.at = reader.next(c);
    }
    reader.end();
    reader.all
}

/// Where in the text the next character is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    Line,
    Comment,
    CommentEscape,
    Name,
    /// Before a value, or behind what is quoted of it. Only here do quotes begin one that is quoted:
    /// the one of `It's` is like any other character.
    Start,
    Plain,
    PlainEscape,
    Single,
    Double,
    DoubleEscape,
}

#[derive(Default)]
struct Reader {
    at: At,
    name: String,
    value: String,
    /// How much of the value is no white space at its end that was not asked for.
    kept: usize,
    all: Vec<(String, String)>,
}

impl Reader {
    /// Takes a character, and says where the one after it is.
    fn next(&mut self, c: char) -> At {
        let ends = matches!(c, '\n' | '\r');
        match self.at {
            At::Line if WHITE.contains(&c) => At::Line,
            At::Line if matches!(c, '#' | ';') => At::Comment,
            At::Comment if c == '\\' => At::CommentEscape,
            // Before systemd 254 a comment went on in the next line then. To take that for a
            // variable hides too much at worst.
            At::Comment | At::CommentEscape if ends => At::Line,
            At::Comment | At::CommentEscape => At::Comment,
            At::Name if c == '=' => At::Start,
            At::Name if ends => {
                self.name.clear();
                At::Line
            }
            At::Line | At::Name => {
                self.name.push(c);
                At::Name
            }
            At::Start | At::Plain if ends => {
                self.set();
                At::Line
            }
            At::Start if c == '\'' => At::Single,
            At::Start if c == '"' => At::Double,
            At::Start | At::Plain if c == '\\' => {
                // What stands before it is not the value's end.
                self.kept = self.value.len();
                At::PlainEscape
            }
            At::Start if WHITE.contains(&c) => At::Start,
            At::Plain if WHITE.contains(&c) => {
                self.value.push(c);
                At::Plain
            }
            At::PlainEscape if ends => At::Plain,
            At::Start | At::Plain | At::PlainEscape => self.take(c, At::Plain),
            At::Single if c == '\'' => At::Start,
            At::Single => self.take(c, At::Single),
            At::Double if c == '"' => At::Start,
            At::Double if c == '\\' => At::DoubleEscape,
            At::DoubleEscape if c == '\n' => At::Double,
            At::DoubleEscape if !ESCAPED.contains(&c) => {
                self.value.push('\\');
                self.take(c, At::Double)
            }
            At::Double | At::DoubleEscape => self.take(c, At::Double),
        }
    }

    fn take(&mut self, c: char, then: At) -> At {
        self.value.push(c);
        self.kept = self.value.len();
        then
    }

    fn set(&mut self) {
        let name = self.name.trim_end_matches(WHITE).to_owned();
        self.value.truncate(self.kept);
        self.all.push((name, std::mem::take(&mut self.value)));
        self.name.clear();
        self.kept = 0;
    }

    /// The text is over: so is a value, whose quotes may never have ended.
    fn end(&mut self) {
        let none = [At::Line, At::Comment, At::CommentEscape, At::Name];
        if !none.contains(&self.at) {
            self.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, as_it_is: &[(&str, &str)]) {
        let all = variables(text);
        let all: Vec<(&str, &str)> = all.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(all, as_it_is, "{text:?}");
    }

    #[test]
    fn a_secret_in_a_file_of_variables_was_not_known() {
        read(
            "# don't = take 'this\n; nor=this\nA=plain\n\n B = \"two\nlines\" \nnothing\n\
             C='it\\s'\nD=a\\\nb\nE=x=y#z\nF=\"a\\\"b\"\nG=\nH=end",
            &[
                ("A", "plain"),
                ("B", "two\nlines"),
                ("C", "it\\s"),
                ("D", "ab"),
                ("E", "x=y#z"),
                ("F", "a\"b"),
                ("G", ""),
                ("H", "end"),
            ],
        );
    }

    #[test]
    fn an_apostrophe_within_a_value_swallowed_the_secrets_behind_it() {
        read(
            "GREETING=It's up\nDB_PASSWORD=hunter22\nSAYS=say \"hi\nTOKEN=t0ken",
            &[
                ("GREETING", "It's up"),
                ("DB_PASSWORD", "hunter22"),
                ("SAYS", "say \"hi"),
                ("TOKEN", "t0ken"),
            ],
        );
        // Behind what is quoted there may be more, quoted or not.
        read(
            "A='a b' \"c d\" e'f\nB=b",
            &[("A", "a bc de'f"), ("B", "b")],
        );
    }

    #[test]
    fn a_backslash_that_the_program_was_given_was_taken_from_the_secret() {
        read(
            "A=\"p\\ss\\n\\\\ \\$x \\`y\\` \\\"z\"\nB=p\\ss\\\"w\nC='p\\'\nD=\"on\\\ne\"",
            &[
                ("A", "p\\ss\\n\\ $x `y` \"z"),
                ("B", "pss\"w"),
                ("C", "p\\"),
                ("D", "one"),
            ],
        );
    }

    #[test]
    fn white_space_at_the_end_of_a_value_is_not_part_of_it_if_nothing_says_so() {
        read(
            "A=a b \t\r\nB=b \\\n c \nC=c\\ \nD='d '  \n  E  =  e\\",
            &[
                ("A", "a b"),
                ("B", "b  c"),
                ("C", "c "),
                ("D", "d "),
                ("E", "e"),
            ],
        );
        read("A='never ended \nB=b", &[("A", "never ended \nB=b")]);
        read("A=", &[("A", "")]);
        read("A", &[]);
    }

    #[test]
    fn a_comment_that_ends_with_a_backslash_hides_no_variable() {
        read("# it's \\\nA=a\n;b\\c\nB=b", &[("A", "a"), ("B", "b")]);
    }
}
