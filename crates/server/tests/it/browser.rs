//! A browser without scripts: cookies, links, forms.

use crate::world::{Got, World};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use std::collections::BTreeMap;

/// One element's beginning: its name, its attributes, and the text up to the next one.
#[derive(Debug)]
pub(crate) struct Tag {
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Tag {
    /// An attribute's value, with what was escaped in it as it was.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(name, _)| name.as_str())
    }
}

fn plain(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&#60;", "<")
        .replace("&gt;", ">")
        .replace("&#62;", ">")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
}

/// The tags of a page, as a browser would see them. Our pages quote every attribute that has a value.
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name_end = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        if name_end == 0 {
            continue; // `</…`, `<!doctype`
        }
        let mut tag = Tag {
            name: rest[..name_end].to_ascii_lowercase(),
            attributes: Vec::new(),
            text: String::new(),
        };
        rest = rest[name_end..].trim_start();
        while !rest.starts_with('>') && !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('/') {
                rest = after.trim_start();
                continue;
            }
            let end = rest.find(['=', '>', ' ', '\n', '/']).unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            rest = &rest[end..];
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix("=\"") {
                let end = after.find('"').expect("a quoted attribute ends");
                value = plain(&after[..end]);
                rest = &after[end + 1..];
            } else {
                assert!(
                    !rest.starts_with('='),
                    "an attribute without quotes: {name}"
                );
            }
            tag.attributes.push((name, value));
            rest = rest.trim_start();
        }
        rest = rest.strip_prefix('>').unwrap_or(rest);
        let text_end = rest.find('<').unwrap_or(rest.len());
        tag.text = plain(rest[..text_end].trim());
        tags.push(tag);
    }
    tags
}

pub(crate) struct Browser<'w> {
    world: &'w World,
    cookies: BTreeMap<String, String>,
    pub(crate) language: &'static str,
}

/// A form of a page, with what stands in it.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    pub(crate) action: String,
    pub(crate) method: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Form {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.into(), value.into()));
        self
    }
}

/// The forms of a page that was got from `address`.
pub(crate) fn forms(page: &str, address: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    for tag in tags(page) {
        let value = |name: &str| tag.attribute(name).map(str::to_owned);
        match tag.name.as_str() {
            "form" => forms.push(Form {
                action: value("action").unwrap_or_else(|| address.to_owned()),
                method: value("method").unwrap_or_default(),
                fields: Vec::new(),
            }),
            "input" => {
                if let (Some(form), Some(name)) = (forms.last_mut(), value("name")) {
                    form.fields.push((name, value("value").unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    forms
}

pub(crate) fn text(got: &Got) -> &str {
    std::str::from_utf8(&got.body).unwrap()
}

impl<'w> Browser<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            cookies: BTreeMap::new(),
            language: "en",
        }
    }

    /// Signed in with this token.
    pub(crate) async fn signed_in(world: &'w World, token: &str) -> Self {
        let mut browser = Self::new(world);
        let got = browser.post("/sign-in", &[("token", token)], &[]).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", text(&got));
        browser
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    pub(crate) fn keep(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.into(), value.into());
    }

    pub(crate) fn request(&self, method: Method, address: &str) -> axum::http::request::Builder {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Request::builder()
            .method(method)
            .uri(address)
            .header("host", "console.example")
            .header("accept", "text/html,*/*;q=0.8")
            .header("accept-language", self.language)
            .header("cookie", cookies.join("; "))
    }

    async fn send(&mut self, request: Request<Body>) -> Got {
        let got = self.world.send(request).await;
        for line in got.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.keep(name, value);
            }
        }
        got
    }

    pub(crate) async fn get(&mut self, address: &str) -> Got {
        let request = self
            .request(Method::GET, address)
            .body(Body::empty())
            .unwrap();
        self.send(request).await
    }

    /// A page that must be there.
    #[track_caller]
    pub(crate) fn page(&mut self, address: &str) -> impl Future<Output = String> {
        let address = address.to_owned();
        async move {
            let got = self.get(&address).await;
            assert_eq!(got.status, StatusCode::OK, "{address}: {}", text(&got));
            text(&got).to_owned()
        }
    }

    pub(crate) async fn post(
        &mut self,
        address: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Got {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let mut request = self
            .request(Method::POST, address)
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// Sends a form as a browser does.
    pub(crate) async fn submit(&mut self, form: &Form) -> Got {
        assert_eq!(form.method, "post");
        let fields: Vec<_> = form
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let headers = [
            ("origin", "http://console.example"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.post(&form.action, &fields, &headers).await
    }
}
