#!/bin/sh
# The sweep whose report is docs/demo-report.html. Run in docs/demo.
set -e
steer sweep --model demo --pairs pairs.jsonl --eval held-out.jsonl --text neutral.txt \
  --operators add,add-same-norm --budgets -1,-0.5,-0.25,0.25,0.5,1 --max-cost 1.1 \
  --positive-system "Anna was very happy." --negative-system "Anna was very sad." \
  --generate 3 --max-tokens 45 --words happy,glad,smiled,laughed,danced,sang,delight,cheerful \
  --out mood-sweep
steer report mood-sweep --out ../demo-report.html
