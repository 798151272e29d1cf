"""The only place that knows paths under results/: what is written, where, and how it is read again.

A file is written under a temporary name, flushed and renamed, so that a crash leaves nothing that looks finished;
a cell is finished when `cell.json`, written last, is there and names the cell's fingerprint. `cell.json` and
`dataset.json` list the other files of their folders with their sha256, which are verified before they are read.
"""
