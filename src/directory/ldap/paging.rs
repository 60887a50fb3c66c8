//! The state of one search in pages (RFC 2696).
//!
//! Some servers announce pages and refuse them to this account, or refuse pages of this size (OpenLDAP `size.prtotal` and
//! `size.pr`, Tivoli's directory). If the first page is refused, smaller and smaller pages are requested, and finally no
//! pages. This is not remembered: the next search begins with the configured size.

use ldap3::LdapResult;
use ldap3::controls::{PagedResults, RawControl};

use crate::ber::Malformed;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::PAGED_RESULTS;
use crate::directory::ldap::result::one_line;

/// The results by which servers refuse a page: protocolError, adminLimitExceeded, unavailableCriticalExtension,
/// insufficientAccessRights, unwillingToPerform.
const REFUSALS: [u32; 5] = [2, 11, 12, 50, 53];
/// The factor by which the next size is smaller, and the smallest size.
const STEP: u32 = 10;

/// The state of a search in pages.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The configured size.
    configured: u32,
    /// The size of a page; `None` is no pages.
    size: Option<u32>,
    cookie: Vec<u8>,
    first: bool,
    /// The server's answer if it refused the configured size.
    refused: Option<String>,
}

impl Pages {
    /// Pages of this size if the server has `announced` pages.
    pub(crate) fn new(announced: bool, size: u32) -> Self {
        Self {
            configured: size,
            size: announced.then_some(size),
            cookie: Vec::new(),
            first: true,
            refused: None,
        }
    }

    /// The control of the request for the next page; `None` without pages.
    pub(crate) fn control(&mut self) -> Option<RawControl> {
        let page = self.size.map(|size| PagedResults {
            size: i32::try_from(size).unwrap_or(i32::MAX),
            cookie: std::mem::take(&mut self.cookie),
        });
        page.map(Into::into)
    }

    /// Handles the result of a page; `empty` says that the page had no entry. Returns whether the next page is to be
    /// requested. A server that ignored the control has sent everything.
    ///
    /// # Errors
    /// The server's control is malformed.
    pub(crate) fn page_ended(&mut self, result: &LdapResult, empty: bool) -> Result<bool, Malformed> {
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

    /// Chooses a smaller size if this one was refused. Returns whether there is one.
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

    /// A warning for the administrator if the server refused the configured size.
    pub(crate) fn warning(&self, server: &str) -> Option<String> {
        let Self {
            configured, refused, ..
        } = self;
        let refused = refused.as_ref()?;
        Some(match self.size {
            Some(size) => format!(
                "{server}: the server refuses pages of {configured} entries ({refused}) and accepts pages of {size}; \
                 set `page_size` to a size that it accepts, or raise its limit (OpenLDAP: `limits dn.exact=\"<bind DN>\" size.pr=unlimited`)"
            ),
            None => format!(
                "{server}: the server announces pages and refuses them to this account ({refused}), so that everyone is \
                 requested at once; let the bind account use pages (OpenLDAP: `limits dn.exact=\"<bind DN>\" size.prtotal=unlimited`)"
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
