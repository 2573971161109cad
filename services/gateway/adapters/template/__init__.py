"""A whole small venue to copy: `paperclip` trades two things in memory, and its adapter passes the conformance kit.

`wire` is what would stand in common/venues/<venue>/, `venue` is the far end of the line, `adapter` and `rig` are what a
new venue writes. docs/howto/add-a-venue.md walks through them. Nothing starts this venue but the kit and its tests.
"""
