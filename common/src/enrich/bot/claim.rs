//! What a user agent claims to be, as far as other headers can contradict it.
//!
//! Client hints are compared as the Chromium browsers send them (User-Agent Client Hints, WICG draft report; brands
//! "Chromium" and the vendor's with one major version). Where browsers are known to differ, nothing is held against them:
//! a telephone that asks for desktop pages says `Linux` in its user agent and may say `Android` in its hint; web views
//! inside apps and browsers on iOS send no hints.

/// What a user agent claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Claim {
    /// The engine, where it is a browser's.
    pub(super) engine: Option<Engine>,
    pub(super) platform: Option<Platform>,
    /// Whether it says `Mobile`.
    pub(super) mobile: bool,
}

/// Whose engine a browser has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// Chromium, with its major version.
    Chromium(u16),
    /// Chromium inside an app.
    WebView,
    /// Gecko or WebKit: they have no client hints.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    Windows,
    MacOs,
    Linux,
    Android,
    ChromeOs,
}

impl Platform {
    /// The platform that a hint names, its quotation marks taken away; none where it is not one of these.
    pub(super) fn hinted(hint: &str) -> Option<Self> {
        match hint.trim().trim_matches('"') {
            "Windows" => Some(Self::Windows),
            "macOS" | "Mac OS X" => Some(Self::MacOs),
            "Linux" => Some(Self::Linux),
            "Android" => Some(Self::Android),
            "Chrome OS" | "Chromium OS" => Some(Self::ChromeOs),
            _ => None,
        }
    }

    /// Whether a user agent may name this one while the hint names `hinted`.
    pub(super) fn agrees_with(self, hinted: Self) -> bool {
        // Desktop pages on a telephone, and apps of Android on Chrome OS.
        self == hinted || matches!((self, hinted), (Self::Linux, Self::Android) | (Self::Android, Self::ChromeOs))
    }
}

impl Claim {
    pub(super) fn of(user_agent: &str) -> Self {
        let names = |token: &str| user_agent.contains(token);
        let browser = user_agent.starts_with("Mozilla/5.0 (");
        let engine = match version(user_agent, "Chrome/") {
            _ if !browser || names("compatible;") => None,
            Some(_) if names("; wv)") || names("Version/4.0") => Some(Engine::WebView),
            // Those before the first of the system say Chrome and are Edge's own engine.
            Some(_) if names(" Edge/") => Some(Engine::Other),
            Some(major) => Some(Engine::Chromium(major)),
            None if names("Firefox/") || names("Safari/") => Some(Engine::Other),
            None => None,
        };
        let platform = if names("Windows NT") {
            Some(Platform::Windows)
        } else if names("Macintosh") {
            Some(Platform::MacOs)
        } else if names("Android") {
            Some(Platform::Android)
        } else if names("CrOS") {
            Some(Platform::ChromeOs)
        } else if names("X11; ") && names("Linux") {
            Some(Platform::Linux)
        } else {
            None
        };
        Self { engine, platform, mobile: names("Mobile") }
    }
}

/// The major version behind `name`.
pub(super) fn version(text: &str, name: &str) -> Option<u16> {
    let (_, rest) = text.split_once(name)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The major version that `Sec-CH-UA` gives a brand; none where it does not name it.
pub(super) fn brand(brands: &str, name: &str) -> Option<u16> {
    brands.split(',').find_map(|brand| {
        let (brand, parameters) = brand.split_once(';')?;
        (brand.trim().trim_matches('"') == name).then(|| version(parameters, "v=\""))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read() {
        use Engine::*;
        use Platform::*;
        for (text, engine, platform, mobile) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 Edg/124.0.0.0",
                Some(Chromium(124)),
                Some(Windows),
                false,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
                Some(Chromium(124)),
                Some(Android),
                true,
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; Pixel 8; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/124.0.0.0 Mobile Safari/537.36",
                Some(WebView),
                Some(Android),
                true,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/124.0 Mobile/15E148 Safari/604.1",
                Some(Other),
                None,
                true,
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0", Some(Other), Some(Linux), false),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                Some(Chromium(124)),
                Some(ChromeOs),
                false,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 Safari/537.36 Edge/17.17134",
                Some(Other),
                Some(Windows),
                false,
            ),
            ("Dalvik/2.1.0 (Linux; U; Android 14)", None, Some(Android), false),
            ("", None, None, false),
        ] {
            assert_eq!(Claim::of(text), Claim { engine, platform, mobile }, "{text}");
        }
    }

    #[test]
    fn brands_are_read() {
        let brands = r#""Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99""#;
        assert_eq!(brand(brands, "Chromium"), Some(124));
        assert_eq!(brand(brands, "HeadlessChrome"), None);
        assert_eq!(brand("\"Chromium\";v=\"x\"", "Chromium"), None);
        assert_eq!(brand("", "Chromium"), None);
    }
}
