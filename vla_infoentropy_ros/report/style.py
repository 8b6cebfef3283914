# SPDX-License-Identifier: Apache-2.0
"""The style sheet of the report: no external font, no script, light and dark."""

STYLE = """
:root{--paper:#f6f7f9;--card:#fff;--ink:#161b24;--quiet:#5b6575;--line:#e2e6ec;--good:#2f9e66;
--bad:#d4483b;--accent:#2563eb;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#0f1219;--card:#181d27;--ink:#eaeef5;
--quiet:#9aa5b6;--line:#2b3341;--good:#3fae73;--bad:#e0645a;--accent:#6ea0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:36px 24px 64px}
h1{font-size:30px;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:21px;margin:44px 0 6px;letter-spacing:-.01em}
h3{font-size:16px;margin:0 0 2px}
p{margin:6px 0 12px;max-width:100ch}
a{color:var(--accent)}
.quiet,figcaption,.tick{color:var(--quiet)}
.lead{font-size:19px;line-height:1.45;margin:14px 0 18px;max-width:none}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;
margin:14px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(430px,1fr));gap:14px}
.pair .card{margin:0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
th,td{padding:9px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-size:13px;font-weight:600;color:var(--quiet)}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}
td.key{font-weight:650}
td.big{font-weight:700;font-size:17px}
.facts td{text-align:left;white-space:normal;padding:5px 10px}
.facts td:first-child{color:var(--quiet);width:34%}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:8px}
ul.verdicts{list-style:none;margin:14px 0 0;padding:0}
ul.verdicts li{margin:8px 0;padding-left:19px;position:relative}
ul.verdicts li .dot{position:absolute;left:0;top:7px}
svg{display:block;width:100%;height:auto;font:13px system-ui,sans-serif}
svg .tick{fill:var(--quiet)}svg .ink{fill:var(--ink)}svg .on{fill:#fff;font-weight:600}
svg .halo{paint-order:stroke;stroke:var(--card);stroke-width:4px;font-weight:600}
video,.wide{width:100%;border-radius:10px;display:block}
.frames{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin-top:10px}
@media(max-width:760px){.frames{grid-template-columns:repeat(2,1fr)}.pair{grid-template-columns:1fr}}
.frames img{width:100%;border-radius:8px;display:block}
figure{margin:0}figcaption{font-size:13px;margin-top:4px;line-height:1.35}
.legend{display:flex;flex-wrap:wrap;gap:6px 20px;margin:8px 0 0;font-size:14px}
code,pre{font:13.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
overflow-x:auto}
dl{margin:0}dt{font-weight:650;margin-top:10px}dd{margin:0 0 2px;color:var(--quiet)}
"""
