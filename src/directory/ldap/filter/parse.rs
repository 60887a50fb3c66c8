//! Parses a filter. An error names the position, what is wrong there, and what to write instead.

use super::term;
use super::tree::{Node, Term};

/// The largest depth of parentheses: far more than anyone writes, and safe for the stack.
const DEEPEST: usize = 100;
/// The number of characters of a wrong term that a message shows.
const SHOWN: usize = 60;

/// What is wrong with the text of a filter, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}{}: {problem}", quoted(found))]
pub struct FilterError {
    /// The position in characters, from 1.
    pub position: usize,
    /// The text at the position, cut after some characters.
    pub found: String,
    /// What is wrong with it, and the remedy.
    pub problem: String,
}

fn quoted(found: &str) -> String {
    if found.is_empty() {
        String::new()
    } else {
        format!(", `{found}`")
    }
}

/// Parses a filter.
pub(crate) fn filter(text: &str) -> Result<Node, FilterError> {
    let mut parser = Parser { text, at: 0 };
    parser.skip_blanks();
    match parser.next() {
        None => Err(parser.error(0, "", "the filter is empty; write it as in (objectClass=person)")),
        Some('(') => {
            let node = parser.in_parentheses(DEEPEST)?;
            parser.skip_blanks();
            parser.ends()?;
            Ok(node)
        }
        Some(_) => parser.bare().map(Node::Term),
    }
}

/// A position in the text.
struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().bytes().take_while(u8::is_ascii_whitespace);
        self.at += blanks.count();
    }

    /// Parses the filter that begins with the parenthesis here. At most `depth` others may be nested in it.
    fn in_parentheses(&mut self, depth: usize) -> Result<Node, FilterError> {
        let begin = self.at;
        self.at += 1;
        self.skip_blanks();
        if depth == 0 {
            return Err(self.error(
                begin,
                self.rest(),
                &format!("parentheses lie more than {DEEPEST} deep in each other"),
            ));
        }
        match self.next() {
            Some('&') => self.list(begin, depth).map(Node::And),
            Some('|') => self.list(begin, depth).map(Node::Or),
            Some('!') => self.negation(begin, depth),
            Some('(') => Err(self.error(
                self.at,
                self.rest(),
                "two parentheses open one after the other; remove one, and the one that closes it",
            )),
            Some(')') => Err(self.error(
                begin,
                "()",
                "nothing is in the parentheses; write a term, as in (objectClass=person)",
            )),
            Some(_) => {
                let (term, at) = (self.until_closed(begin)?, self.at);
                self.at += term.len() + 1;
                self.term(at, term).map(Node::Term)
            }
            None => Err(self.unclosed(begin)),
        }
    }

    /// Parses the filters that `&` or `|` combines.
    fn list(&mut self, begin: usize, depth: usize) -> Result<Vec<Node>, FilterError> {
        self.at += 1;
        let mut nodes = Vec::new();
        loop {
            self.skip_blanks();
            match self.next() {
                Some('(') => nodes.push(self.in_parentheses(depth - 1)?),
                Some(')') => {
                    self.at += 1;
                    return Ok(nodes);
                }
                Some(_) => return Err(self.no_term()),
                None => return Err(self.unclosed(begin)),
            }
        }
    }

    fn negation(&mut self, begin: usize, depth: usize) -> Result<Node, FilterError> {
        self.at += 1;
        self.skip_blanks();
        let node = match self.next() {
            Some('(') => self.in_parentheses(depth - 1)?,
            Some(')') => {
                return Err(self.error(
                    begin,
                    "(!)",
                    "`!` negates nothing; write a term after it, as in (!(mail=*))",
                ));
            }
            Some(_) => return Err(self.no_term()),
            None => return Err(self.unclosed(begin)),
        };
        self.skip_blanks();
        match self.next() {
            Some(')') => {
                self.at += 1;
                Ok(Node::Not(Box::new(node)))
            }
            Some('(') => Err(self.error(
                self.at,
                self.rest(),
                "`!` negates one term, and this is a second one; combine the two, as in (!(|(a=b)(c=d)))",
            )),
            Some(_) => Err(self.no_term()),
            None => Err(self.unclosed(begin)),
        }
    }

    /// The text of the term from here to the parenthesis that closes the one at `begin`.
    fn until_closed(&self, begin: usize) -> Result<&'a str, FilterError> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                ')' => return Ok(&self.rest()[..at]),
                '(' => {
                    return Err(self.error(
                        self.at + at,
                        &self.rest()[at..],
                        "a parenthesis opens within a term; close the term before it with `)`, or write \\28 where it belongs to the value, and \\29 for the one that closes it",
                    ));
                }
                _ => {}
            }
        }
        Err(self.unclosed(begin))
    }

    /// Parses a term that is the whole filter.
    fn bare(&self) -> Result<Term, FilterError> {
        let text = self.rest().trim_ascii_end();
        if text.starts_with(['&', '|', '!']) {
            let remedy = format!("a combination stands in parentheses; write ({text})");
            return Err(self.error(self.at, text, &remedy));
        }
        let mut escaped = false;
        for (at, c) in text.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' | ')' => {
                    return Err(self.error(
                        self.at + at,
                        &text[at..],
                        "the filter begins without a parenthesis, and here is one; write `(` at its beginning, or \\28 and \\29 for parentheses in a value",
                    ));
                }
                _ => {}
            }
        }
        self.term(self.at, text)
    }

    /// Fails if anything follows the filter.
    fn ends(&self) -> Result<(), FilterError> {
        let problem = match self.next() {
            None => return Ok(()),
            Some(')') => "this parenthesis closes nothing; remove it",
            Some('(') => "a second filter begins here; combine the two, as in (&(a=b)(c=d))",
            Some(_) => "the filter ends before this; remove it, or combine the two, as in (&(a=b)(c=d))",
        };
        Err(self.error(self.at, self.rest(), problem))
    }

    /// Parses the term `text`, which begins at byte `at`.
    fn term(&self, at: usize, text: &str) -> Result<Term, FilterError> {
        term::read(text).map_err(|wrong| self.error(at + wrong.at, text, &wrong.problem))
    }

    /// The error for text outside parentheses.
    fn no_term(&self) -> FilterError {
        let end = self.rest().find(['(', ')']).unwrap_or(self.rest().len());
        let text = self.rest()[..end].trim_ascii_end();
        if text.contains('=') {
            self.error(
                self.at,
                text,
                &format!("a term within others stands in parentheses; write ({text})"),
            )
        } else {
            self.error(self.at, text, "this is no term; terms follow one another with nothing but blanks between them, as in (&(a=b)(c=d))")
        }
    }

    fn unclosed(&self, begin: usize) -> FilterError {
        let problem = "this parenthesis is never closed; write `)` where what it opens ends";
        self.error(begin, &self.text[begin..], problem)
    }

    fn error(&self, at: usize, found: &str, problem: &str) -> FilterError {
        let mut found: String = found.trim_ascii_end().replace(|c: char| c.is_control(), " ");
        if let Some((end, _)) = found.char_indices().nth(SHOWN) {
            found.truncate(end);
            found += "...";
        }
        FilterError {
            position: self.text[..at].chars().count() + 1,
            found,
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_ldapsearch_accepts_is_read() {
        for (text, canonical) in [
            ("objectClass=person", "(objectClass=person)"),
            (" \n memberOf=cn=a b,dc=x\n", "(memberOf=cn=a b,dc=x)"),
            ("(& (a=b)\n\t(| (c=d) ) )\n", "(&(a=b)(|(c=d)))"),
            ("( a=b)", "(a=b)"),
            ("(!  (a=b) )", "(!(a=b))"),
            ("(&)", "(&)"),
            ("(|)", "(|)"),
            ("(a=)", "(a=)"),
            ("(a=*)", "(a=*)"),
            ("(a=*b*c*)", "(a=*b*c*)"),
            ("(a= b )", "(a= b )"),
            ("(a=b=c)", "(a=b=c)"),
            ("(a>=1)", "(a>=1)"),
            ("(a<=1)", "(a<=1)"),
            ("(a~=b)", "(a~=b)"),
            ("(a;lang-de;x-y=b)", "(a;lang-de;x-y=b)"),
            ("(2.5.4.3=b)", "(2.5.4.3=b)"),
            ("(a:=b)", "(a:=b)"),
            ("(a:dn:=b)", "(a:dn:=b)"),
            ("(a:DN:2.5.13.2:=b)", "(a:dn:2.5.13.2:=b)"),
            ("(:caseExactMatch:=b)", "(:caseExactMatch:=b)"),
            ("(a:dnSubtreeMatch:=b)", "(a:DNSubtreeMatch:=b)"),
            ("(a=\\28\\29\\2A\\5C\\00)", "(a=\\28\\29\\2a\\5c\\00)"),
            ("(a=\\(\\)\\*\\\\)", "(a=\\28\\29\\2a\\5c)"),
            ("(a=j\\c3\\bcrgen)", "(a=jürgen)"),
            ("(a=\\ffb)", "(a=\\ff\\62)"),
            ("a=\\(b\\)", "(a=\\28b\\29)"),
        ] {
            assert_eq!(
                filter(text).map(|node| node.to_string()).as_deref(),
                Ok(canonical),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_to_write() {
        let deep = "(!".repeat(DEEPEST + 1);
        let long = format!("(a{})", "b".repeat(100));
        let reports: Vec<String> = [
            " ",
            "(&(objectClass=person)(mail=*)",
            "(&(objectClass=person)(mail=*)))",
            "(objectClass=person)(mail=*)",
            "(objectClass=person) and mail",
            "&(objectClass=person)(mail=*)",
            "objectClass=person)",
            "((objectClass=person))",
            "()",
            "(!)",
            "(&(é=a))",
            "(&(a=b),(c=d))",
            "(&objectClass=person)",
            "(!objectClass=person)",
            "(!(a=b)(c=d))",
            "(&(a=b(c=d)))",
            "(cn=Ann (Doe))",
            "(person)",
            "(=person)",
            "(:dn:=person)",
            "(objectClass = person)",
            "(my_mail=*)",
            "(cn:case match:=a)",
            "(memberOf=cn=Doe\\, Ann,dc=x)",
            "(cn=a**b)",
            "(uidNumber>=1*)",
            "(cn=a\nb",
            &deep,
            &long,
        ]
        .into_iter()
        .map(|text| filter(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(reports.join("\n"), @r#"
        at character 1: the filter is empty; write it as in (objectClass=person)
        at character 1, `(&(objectClass=person)(mail=*)`: this parenthesis is never closed; write `)` where what it opens ends
        at character 32, `)`: this parenthesis closes nothing; remove it
        at character 21, `(mail=*)`: a second filter begins here; combine the two, as in (&(a=b)(c=d))
        at character 22, `and mail`: the filter ends before this; remove it, or combine the two, as in (&(a=b)(c=d))
        at character 1, `&(objectClass=person)(mail=*)`: a combination stands in parentheses; write (&(objectClass=person)(mail=*))
        at character 19, `)`: the filter begins without a parenthesis, and here is one; write `(` at its beginning, or \28 and \29 for parentheses in a value
        at character 2, `(objectClass=person))`: two parentheses open one after the other; remove one, and the one that closes it
        at character 1, `()`: nothing is in the parentheses; write a term, as in (objectClass=person)
        at character 1, `(!)`: `!` negates nothing; write a term after it, as in (!(mail=*))
        at character 4, `é=a`: `é` is no attribute: a name has letters, digits and `-` and begins with a letter
        at character 8, `,`: this is no term; terms follow one another with nothing but blanks between them, as in (&(a=b)(c=d))
        at character 3, `objectClass=person`: a term within others stands in parentheses; write (objectClass=person)
        at character 3, `objectClass=person`: a term within others stands in parentheses; write (objectClass=person)
        at character 8, `(c=d))`: `!` negates one term, and this is a second one; combine the two, as in (!(|(a=b)(c=d)))
        at character 7, `(c=d)))`: a parenthesis opens within a term; close the term before it with `)`, or write \28 where it belongs to the value, and \29 for the one that closes it
        at character 9, `(Doe))`: a parenthesis opens within a term; close the term before it with `)`, or write \28 where it belongs to the value, and \29 for the one that closes it
        at character 2, `person`: compares nothing; write an attribute, `=` and a value, as in (objectClass=person)
        at character 2, `=person`: no attribute stands before the comparison; write one, as in (objectClass=person)
        at character 2, `:dn:=person`: no attribute stands before the comparison; write one, as in (objectClass=person)
        at character 2, `objectClass = person`: a blank stands beside the attribute; write (objectClass=person)
        at character 2, `my_mail=*`: `my_mail` is no attribute: a name has letters, digits and `-` and begins with a letter
        at character 2, `cn:case match:=a`: what stands before `:=` is no matching rule; write it as in (memberOf:1.2.840.113556.1.4.1941:=...)
        at character 17, `memberOf=cn=Doe\, Ann,dc=x`: a backslash begins an escape of two hexadecimal digits, and \5c is a backslash itself; write (memberOf=cn=Doe\5c, Ann,dc=x)
        at character 6, `cn=a**b`: two asterisks stand for no more than one; write (cn=a*b)
        at character 2, `uidNumber>=1*`: an asterisk stands for any text with `=` only; write \2a for an asterisk itself
        at character 1, `(cn=a b`: this parenthesis is never closed; write `)` where what it opens ends
        at character 201, `!`: parentheses lie more than 100 deep in each other
        at character 2, `abbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...`: compares nothing; write an attribute, `=` and a value, as in (objectClass=person)
        "#);
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error_at_a_place_within_it(text in "\\PC*", some in "[(&|!)a=*\\\\2:; \n]{0,40}") {
            for text in [&text, &some] {
                if let Err(error) = filter(text) {
                    prop_assert!((1..=text.chars().count() + 1).contains(&error.position));
                }
            }
        }
    }
}
