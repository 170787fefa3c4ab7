"""Secrets: values encrypted with age in a site, decrypted in memory where they are used."""
