"""What the agents of a made-up project have learned: believable, and long enough to be worth losing sleep over."""

from __future__ import annotations

__all__ = ["MEMORIES"]

Memory = tuple[str, str, str]
"""A memory's type, its project, and its text."""

MEMORIES: dict[str, tuple[Memory, ...]] = {
    "discussions": (
        (
            "decision",
            "shop-api",
            (
                "We keep sessions in Redis, not in PostgreSQL: the login page did 40 writes a second at peak, and vacuum could "
                "not keep up. Sessions may be lost on a restart; carts may not, they stay in PostgreSQL."
            ),
        ),
        (
            "decision",
            "shop-api",
            (
                "Prices are integers in cents everywhere, from the database to the JSON. The rounding bug of March came from a "
                "float in the discount module."
            ),
        ),
        (
            "blocker",
            "shop-api",
            (
                "The auth race: two refresh requests with the same token arrive together, the first rotates the token, the "
                "second is logged out. Fixed by a grace period of 30 seconds for the previous token."
            ),
        ),
        (
            "session",
            "shop-api",
            (
                "Spent the afternoon on the flaky checkout test. It was the clock: the test froze time, the payment stub did "
                "not. Both now take the same clock object."
            ),
        ),
        (
            "preference",
            "shop-api",
            "Dana wants commit messages that say why. What changed is in the diff; nobody remembers why after a month.",
        ),
        (
            "user_message",
            "shop-web",
            (
                "Please never reformat the legacy templates in passing. The diff hid a real change last week and it cost us a "
                "rollback on Friday evening."
            ),
        ),
        (
            "decision",
            "shop-web",
            (
                "The product page is rendered on the server. Search engines saw an empty page for two weeks after the client "
                "rewrite, and orders from search fell by a fifth."
            ),
        ),
        (
            "agent_response",
            "shop-web",
            (
                "The image service resizes on upload, not on request. Cold requests took 900 ms; now they take 20 ms and the "
                "cache holds only three sizes."
            ),
        ),
    ),
    "conventions": (
        (
            "rule",
            "shop-api",
            (
                "Every endpoint that changes something takes an idempotency key. Mobile networks repeat requests, and a repeated "
                "order is worse than a failed one."
            ),
        ),
        (
            "guideline",
            "shop-api",
            "Log an event name and fields, never a sentence. Sentences cannot be counted, and the dashboards count.",
        ),
        (
            "port",
            "shop-api",
            "The API listens on 8400, its metrics on 8401, the worker's on 8402. 8403 is taken by the stub.",
        ),
        (
            "naming",
            "shop-web",
            "Components are named after what the user sees: PriceTag, not PriceComponent. Folders are named in the singular.",
        ),
        (
            "structure",
            "shop-api",
            "Handlers decode, call one use case, and encode. No SQL in handlers; the review bot looks for it.",
        ),
        (
            "rule",
            "shop-web",
            "No date is formatted by hand. The locale of the user decides, and tests run in three of them.",
        ),
    ),
    "code-patterns": (
        (
            "implementation",
            "shop-api",
            (
                "Retry with jitter: sleep(random() * min(cap, base * 2 ** attempt)). Without the jitter all workers came back in "
                "the same second and took the payment provider down again."
            ),
        ),
        (
            "error_pattern",
            "shop-api",
            (
                "asyncio.gather without return_exceptions=True hides every error but the first; the order export lost rows for "
                "weeks because of it."
            ),
        ),
        (
            "refactor",
            "shop-web",
            "Three places parsed the cart cookie, each a little differently. parse_cart() in cart/cookie.ts is the only one now.",
        ),
        (
            "file_pattern",
            "shop-api",
            "Migrations live in db/migrations as NNNN_what.sql, and each has a NNNN_what.down.sql that CI really runs.",
        ),
        (
            "implementation",
            "shop-api",
            "To read a large export: server-side cursor, 5,000 rows at a time, and commit the position with each batch.",
        ),
    ),
    "github": (
        (
            "github_issue",
            "shop-api",
            "#412 Orders placed within the same millisecond get the same number on the replica.",
        ),
        ("github_pr", "shop-api", "#418 Draw order numbers from a sequence instead of the clock. Closes #412."),
        ("github_commit", "shop-web", "Lazy-load the review widget: it was 300 kB of the 480 kB on the product page."),
    ),
    "jira-data": (
        (
            "jira_issue",
            "shop-web",
            "SHOP-97: Customers in Quebec see the price without the tax line on the second page.",
        ),
        (
            "jira_comment",
            "shop-web",
            "SHOP-97: The tax service caches by country; it has to cache by province. Patch is in review.",
        ),
    ),
}
