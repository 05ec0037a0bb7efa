"""Guarded readers, one for each format: any file gives a value or an error of this project.

A file may come from anybody. It may really be a pipe, a link, a decompression bomb or another
format. So only regular files are opened, every read has a limit, and whatever a parser raises
becomes an error that names the file.
"""
