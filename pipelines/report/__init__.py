"""`labs report`: what was run, as one HTML file that needs no network and no program but a browser."""
