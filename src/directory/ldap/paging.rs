//! One search in pages (RFC 2696), as far as the server keeps to what it announces.
//!
//! Some servers announce pages and refuse them to this account, or refuse pages of this size (OpenLDAP `size.prtotal`
//! and `size.pr`, the directory of Tivoli). The first page is asked for in smaller and smaller pages then, and at last
//! in one piece. Nothing of that is remembered: the next search begins with the size of the configuration.

use ldap3::LdapResult;
use ldap3::controls::{PagedResults, RawControl};

use crate::ber::Malformed;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::PAGED_RESULTS;
use crate::directory::ldap::result::one_line;

/// With what servers refuse a page: protocolError, adminLimitExceeded, unavailableCriticalExtension,
/// insufficientAccessRights, unwillingToPerform.
const REFUSALS: [u32; 5] = [2, 11, 12, 50, 53];
/// How many times smaller the next size is that is tried, and below which size none is.
const STEP: u32 = 10;

/// Where a search in pages stands.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The size that was asked for first.
    configured: u32,
    /// The size of a page; `None` is one piece.
    size: Option<u32>,
    cookie: Vec<u8>,
    first: bool,
    /// The server's words, where it refused the first size.
    refused: Option<String>,
}

impl Pages {
    /// Pages of this size, where the server has `announced` any.
    pub(crate) fn new(announced: bool, size: u32) -> Self {
        Self {
            configured: size,
            size: announced.then_some(size),
            cookie: Vec::new(),
            first: true,
            refused: None,
        }
    }

    /// The control of the request for the next page; `None` where it is not asked for in pages.
    pub(crate) fn control(&mut self) -> Option<RawControl> {
        let page = self.size.map(|size| PagedResults {
            size: i32::try_from(size).unwrap_or(i32::MAX),
            cookie: std::mem::take(&mut self.cookie),
        });
        page.map(Into::into)
    }

    /// Takes the result of a page, of which no entry may have come (`empty`); says whether the next page is to be
    /// asked for. A server that ignored the control has told everything.
    ///
    /// # Errors
    /// The server's control cannot be read.
    pub(crate) fn go_on(&mut self, result: &LdapResult, empty: bool) -> Result<bool, Malformed> {
        if result.rc != 0 {
            return Ok(self.first && empty && self.step_down(result));
        }
        self.first = false;
        let Some(value) = decode::control(&result.ctrls, PAGED_RESULTS) else {
            return Ok(false);
        };
        self.cookie = decode::page_cookie(value)?;
        Ok(!self.cookie.is_empty())
    }

    /// The next way to ask, where this one was refused and there is another.
    fn step_down(&mut self, result: &LdapResult) -> bool {
        let (Some(size), true) = (self.size, REFUSALS.contains(&result.rc)) else {
            return false;
        };
        self.size = Some(size / STEP).filter(|&size| size >= STEP);
        self.refused
            .get_or_insert_with(|| match &*one_line(&result.text) {
                "" => format!("result {}", result.rc),
                text => format!("result {}: {text}", result.rc),
            });
        true
    }

    /// What an administrator should know: the server refused what it announces, and something else worked.
    pub(crate) fn warning(&self, server: &str) -> Option<String> {
        let Self {
            configured, refused, ..
        } = self;
        let refused = refused.as_ref()?;
        Some(match self.size {
            Some(size) => format!(
                "{server}: the server refuses pages of {configured} entries ({refused}) and takes those of {size}; \
                 set `page_size` to what it takes, or raise its limit (OpenLDAP: `limits dn.exact=\"<bind DN>\" size.pr=unlimited`)"
            ),
            None => format!(
                "{server}: the server announces pages and refuses them to this account ({refused}), so that everyone is asked \
                 for in one piece; let the bind account use pages (OpenLDAP: `limits dn.exact=\"<bind DN>\" size.prtotal=unlimited`)"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(size: u32, announced: bool) -> Pages {
        Pages::new(announced, size)
    }

    fn refusal(rc: u32) -> LdapResult {
        LdapResult {
            rc,
            matched: String::new(),
            text: "pagedResults control\nnot allowed".into(),
            refs: Vec::new(),
            ctrls: Vec::new(),
        }
    }

    #[test]
    fn pages_that_are_refused_become_smaller_and_at_last_one_piece() {
        let mut pages = pages(1000, true);
        let mut sizes = Vec::new();
        while pages.step_down(&refusal(11)) {
            sizes.push(pages.size);
            assert_eq!(pages.control().is_some(), pages.size.is_some());
        }
        assert_eq!(sizes, [Some(100), Some(10), None]);
        let warning = pages.warning("ldap://a").unwrap();
        assert!(
            warning.contains("result 11: pagedResults control not allowed")
                && warning.contains("size.prtotal=unlimited"),
            "{warning}"
        );
    }

    #[test]
    fn no_other_error_is_taken_for_a_refusal_of_pages() {
        for rc in [1, 3, 4, 10, 32, 49, 51, 52] {
            assert!(!pages(1000, true).step_down(&refusal(rc)), "{rc}");
        }
        assert!(!pages(1000, false).step_down(&refusal(11)));
        assert_eq!(pages(1000, true).warning("ldap://a"), None);
    }
}
