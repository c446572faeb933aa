"""How every page looks: one style sheet, dark and light, for a desk and a phone. Fetches nothing, knows no content."""

from __future__ import annotations

from html import escape

SERIES = 7
"""Colours for lines and dots: classes c0 to c6."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #647080; --paper: #fbfbfa; --card: #fff; --line: #dfe3e8;
  --lane: #f1f3f6; --good: #1f7a44; --bad: #b3261e; --good-bg: #e5f3ea; --bad-bg: #fbe7e5;
  --c0: #1f6fb2; --c1: #c2571a; --c2: #2a8a4a; --c3: #8a4fb0; --c4: #96700f; --c5: #25838f; --c6: #b03a68 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #98a4b3; --paper: #12161b; --card: #191e25;
  --line: #2c343e; --lane: #212831; --good: #6fcf97; --bad: #ff8a80; --good-bg: #17301f; --bad-bg: #3a1d1c;
  --c0: #64aee8; --c1: #f0935a; --c2: #6bc48a; --c3: #c197e2; --c4: #d9b45a; --c5: #62c0cc; --c6: #ef86ac } }
* { box-sizing: border-box }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 }
main { max-width: 1060px; margin: 0 auto; padding: 1.6em 1em 4em }
h1 { font-size: 1.7em; line-height: 1.2; margin: 0 0 .3em } h2 { font-size: 1.2em; margin: 2.2em 0 .6em }
h2 code { font-size: .8em; font-weight: 500 }
h2 .chip { font-size: .7em; vertical-align: middle }
h2 .note { font-weight: 400; font-size: .75em }
h3 { font-size: 1em; margin: 1.6em 0 .4em } p { margin: .5em 0; max-width: 46em } a { color: var(--c0) }
.lead, .note, figcaption { color: var(--soft) } .note, figcaption { font-size: .9em }
.scroll { overflow-x: auto; margin: .5em 0; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .32em .8em .32em 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600; font-size: .86em; vertical-align: bottom }
th:first-child, td:first-child, .t { text-align: left } .n { white-space: nowrap }
.t { min-width: 7em } td:first-child { min-width: 8em } .facts td + td { word-break: break-word }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5em, 1fr)); gap: .7em; margin: .8em 0 }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .6em; padding: .7em .9em }
.tile b { display: block; font-size: 1.35em; font-weight: 650; line-height: 1.25 }
.tile span { color: var(--soft); font-size: .85em; display: block }
.chip { display: inline-block; border-radius: 1em; padding: .1em .75em; font-size: .88em; font-weight: 600 }
.chip.ok { color: var(--good); background: var(--good-bg) } .chip.bad { color: var(--bad); background: var(--bad-bg) }
.chip.off { color: var(--soft); background: var(--lane) }
.ok { color: var(--good) } .bad { color: var(--bad); font-weight: 650 }
details { border: 1px solid var(--line); border-radius: .6em; background: var(--card); margin: .8em 0; padding: 0 1em }
summary { cursor: pointer; padding: .7em 0; font-weight: 600; overflow-wrap: anywhere }
details[open] { padding-bottom: 1em }
details details { background: var(--paper) } details h2 { margin-top: 1.6em } details h1 { font-size: 1.2em }
pre { background: var(--lane); border-radius: .5em; padding: .9em 1em; overflow-x: auto; font-size: .88em }
pre.method { white-space: pre-wrap; overflow-wrap: anywhere } .words td { text-align: left; min-width: 0 }
.words .ok td, .words .bad td { color: var(--ink); font-weight: 400 }
.words .ok td:first-child { color: var(--good) } .words .bad td:first-child { color: var(--bad); font-weight: 650 }
code { background: var(--lane); border-radius: .3em; padding: .05em .35em; font-size: .9em; overflow-wrap: anywhere }
figure { margin: .6em 0 } svg { display: block; width: 100%; min-width: 42em } s { color: var(--soft) }
svg text { font-size: 13px; fill: var(--soft) } svg text.name { fill: var(--ink) }
.axis { stroke: var(--soft) } .rule { stroke: var(--line) } .lane { fill: var(--lane) }
.mark { stroke: var(--soft); stroke-dasharray: 3 3 } .shade { fill: var(--c1); opacity: .16 }
.player { margin: .5em 0 1.2em } audio { width: 100%; max-width: 30em; display: block; margin-top: .3em }
""" + "".join(
    f"\n.line.c{n} {{ stroke: var(--c{n}); fill: none }}"
    f"\n.dot.c{n} {{ fill: var(--c{n}) }} .key.c{n} {{ color: var(--c{n}) }}"
    for n in range(SERIES)
)


def document(title: str, body: str) -> str:
    """A whole page around its body."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )


def body_of(page: str) -> str:
    """What stands in a document() below its title, to be put into another."""
    return page.partition("</h1>")[2].rpartition("</main>")[0]
