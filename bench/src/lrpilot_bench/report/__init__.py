"""The pages made of an analysis: parts, tables, figures and words, as HTML and as Markdown."""
