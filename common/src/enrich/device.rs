//! The kind of device of a person's user agent: one table of tokens, the first that fits decides.
//!
//! No list under a free licence tells a telephone from a tablet. An iPad that asks for desktop pages calls itself a
//! Macintosh, and nothing in its user agent tells otherwise.

use super::Device;

/// What is no handheld though it may say `Android`, `Mobile` or `Tablet`: televisions, consoles, and Internet Explorer on
/// a PC with a pen.
const DESKTOPS: &[&str] = &[
    "SmartTV",
    "SMART-TV",
    "Smart TV",
    "BRAVIA",
    "; AFT",
    "CrKey",
    "Android TV",
    "GoogleTV",
    "AppleTV",
    "HbbTV",
    "Web0S",
    "NetCast",
    "Roku",
    "PlayStation",
    "Xbox",
    "Nintendo Switch",
    "Tablet PC",
];

const TABLETS: &[&str] = &[
    "iPad",
    "Tablet",
    "Kindle",
    "Silk/",
    "; KF",
    "PlayBook",
    "TouchPad",
    "Nexus 7",
    "Nexus 9",
    "Nexus 10",
    "SM-T",
    "SM-X",
    "SM-P",
    "GT-P",
    "MediaPad",
    "Lenovo TB",
    "Xoom",
];

const PHONES: &[&str] = &[
    "Mobi",
    "iPhone",
    "iPod",
    "Phone",
    "Windows CE",
    "BlackBerry",
    "BB10",
    "Opera Mini",
    "Symbian",
    "SymbOS",
    "Series60",
    "Nokia",
    "webOS/",
    "MIDP",
    "UP.Browser",
    "MAUI",
];

/// The kind of device that sends `user_agent`, taken to be a person's. What names no handheld is a desktop.
pub(super) fn of(user_agent: &str) -> Device {
    let names = |tokens: &[&str]| tokens.iter().any(|token| user_agent.contains(token));
    if names(DESKTOPS) {
        Device::Desktop
    } else if names(TABLETS) {
        Device::Tablet
    } else if names(PHONES) {
        Device::Mobile
    } else if user_agent.contains("Android") {
        // Browsers on Android say `Mobile` on telephones alone; apps say it nowhere.
        if user_agent.starts_with("Mozilla/") { Device::Tablet } else { Device::Mobile }
    } else {
        Device::Desktop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_apart() {
        let table: &[(Device, &[&str])] = &[
            (
                Device::Mobile,
                &[
                    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
                    "Mozilla/5.0 (iPod; CPU iPhone OS 6_1_5 like Mac OS X) AppleWebKit/536.26 (KHTML, like Gecko) Version/6.0 Mobile/10B400 Safari/8536.25",
                    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
                    "Mozilla/5.0 (Android; Mobile; rv:27.0) Gecko/27.0 Firefox/27.0",
                    "Dalvik/1.6.0 (Linux; U; Android 4.1.2; GT-S5282 Build/JZO54K)",
                    "Instagram 3.0.4 Android (8/2.2.1; 240dpi; 480x800; HTC/verizon_wwe; ADR6400L; mecha; mecha; en_US)",
                    "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063",
                    "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/34.1244; U; en) Presto/2.8.119 Version/11.10",
                    "Mozilla/5.0 (BB10; Touch) AppleWebKit/537.10+ (KHTML, like Gecko) Version/10.0.9.2372 Mobile Safari/537.10+",
                    "SAMSUNG-GT-E2232/1.0 Openwave/6.2.3 Profile/MIDP-2.0 Configuration/CLDC-1.1 UP.Browser/6.2.3.3.c.1.101 (GUI) MMP/2.0",
                    "Mozilla/5.0 (Phone; OpenHarmony 4.1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1",
                ],
            ),
            (
                Device::Tablet,
                &[
                    "Mozilla/5.0 (iPad; CPU OS 16_3 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.3 Mobile/15E148 Safari/604.1",
                    "Mozilla/5.0 (Linux; Android 13; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                    "Mozilla/5.0 (Linux; Android 9; unknown) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                    "Mozilla/5.0 (Android; Tablet; rv:27.0) Gecko/27.0 Firefox/27.0",
                    "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4.6 like Chrome/108.0.5359.160 Safari/537.36",
                    "Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like Gecko) Version/5.0 Safari/533.2+ Kindle/3.0+",
                    "Mozilla/5.0 (PlayBook; U; RIM Tablet OS 2.1.0; en-US) AppleWebKit/536.2+ (KHTML, like Gecko) Version/7.2.1.0 Safari/536.2+",
                ],
            ),
            (
                Device::Desktop,
                &[
                    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
                    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                    "Mozilla/5.0 (Windows NT 6.3; ARM; Trident/7.0; Touch; rv:11.0) like Gecko",
                    "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0; .NET4.0C)",
                    "Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
                    "Mozilla/5.0 (Linux; Android 7.1.2; AFTMM Build/NS6265) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4 like Chrome/108.0 Mobile Safari/537.36",
                    "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) Version/6.0 TV Safari/537.36",
                    "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0.3945.79 Safari/537.36 WebAppManager",
                    "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
                    "Lynx/2.8.7rel.2 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.0.1f",
                    "",
                ],
            ),
        ];
        for (device, texts) in table {
            for text in *texts {
                assert_eq!(of(text), *device, "{text}");
            }
        }
    }
}
