"""Runs on the client host: logs in to Odoo with Chromium, opens the Apps page, tells what the browser complains of.

Arguments: the site's address, and the path of the screenshot. The password comes on standard input.
"""

from __future__ import annotations

import json
import sys

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run"
    " --disable-component-update --disable-sync --disable-default-apps --window-size=1280,900"
)


def main(url: str, screenshot: str) -> None:
    options = webdriver.ChromeOptions()
    for option in OPTIONS.split():
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(60)
    log = []
    try:
        driver.get(f"{url}/web/login")
        wait = WebDriverWait(driver, 60)
        wait.until(expected.element_to_be_clickable((By.ID, "login"))).send_keys("admin")
        driver.find_element(By.ID, "password").send_keys(sys.stdin.readline().strip())
        driver.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
        wait.until(expected.presence_of_element_located((By.CSS_SELECTOR, ".o_web_client .o_main_navbar")))
        log += driver.get_log("browser")
        driver.get(f"{url}/odoo/apps")
        wait.until(expected.presence_of_element_located((By.CSS_SELECTOR, ".o_kanban_record:not(.o_kanban_ghost)")))
        log += driver.get_log("browser")
        cards = driver.find_elements(By.CSS_SELECTOR, ".o_kanban_record:not(.o_kanban_ghost)")
        driver.save_screenshot(screenshot)
        print(json.dumps({"log": log, "apps": len(cards)}))
    except BaseException:
        driver.save_screenshot(screenshot)
        print(driver.get_log("browser"), file=sys.stderr)
        raise
    finally:
        driver.quit()


if __name__ == "__main__":
    main(*sys.argv[1:])
