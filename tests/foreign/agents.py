"""User agents that others gathered, as lines of JSON: source, whether it is a program's, the text, and headers if there are any.

Sources, all of them packages: uap-core's cases of devices (with the crate ua-parser), crawler-user-agents, fake-useragent
(browsers met in 2025), and browserforge, which makes whole sets of headers by what was measured of real browsers.
"""

import json
import os
import pathlib
import platform
import random
import subprocess
import sys

import fake_useragent
import yaml
from browserforge.headers import HeaderGenerator
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

HEADERS_MADE = 5000


def tell(source, bot, agent, headers=None):
    print(json.dumps({"source": source, "bot": bot, "user_agent": agent, "headers": headers}))


def uap_core():
    target = f"{platform.machine()}-unknown-linux-gnu"
    asked = ["metadata", "--offline", "--format-version=1", "--filter-platform", target]
    packages = json.loads(subprocess.check_output([os.environ.get("CARGO", "cargo"), *asked]))["packages"]
    package = next(package for package in packages if package["name"] == "ua-parser")
    cases = pathlib.Path(package["manifest_path"]).parent / "uap-core/tests/test_device.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for case in yaml.load(cases.read_text(), loader)["test_cases"]:
        tell("uap-core", case["family"] == "Spider", case["user_agent_string"])


def crawlers():
    for crawler in CRAWLER_USER_AGENTS_DATA:
        for agent in crawler.get("instances", []):
            tell("crawler-user-agents", True, agent)


def browsers():
    data = pathlib.Path(fake_useragent.__file__).parent / "data/browsers.jsonl"
    for line in data.read_text().splitlines():
        tell("fake-useragent", False, json.loads(line)["useragent"])


def headers():
    random.seed(7)
    generator = HeaderGenerator(browser=("chrome", "edge", "firefox", "safari"), http_version=2)
    for _ in range(HEADERS_MADE):
        made = {name.lower(): value for name, value in generator.generate().items()}
        tell("browserforge", False, made["user-agent"], made)


def main():
    if sys.argv[1:] == ["patterns"]:
        print(json.dumps([{"pattern": crawler["pattern"]} for crawler in CRAWLER_USER_AGENTS_DATA]))
        return
    uap_core()
    crawlers()
    browsers()
    headers()


main()
