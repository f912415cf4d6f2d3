"""One look for all pages and pictures: colours, style sheet, script, and pages made of them.

Nothing here knows what a page is about, and no page needs a file or a network besides itself.
"""
