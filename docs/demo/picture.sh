#!/bin/sh
# Takes the picture of docs/demo-report.html that the README shows. Run in docs.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || { echo "no Chromium: demo-report.png stays as it is"; exit 0; }
exec "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1110,1010 --screenshot=demo-report.png "file://$PWD/demo-report.html" 2>/dev/null
