"""From ALF files to a session store: what it is made of, how it is built, and the order of its rows."""
