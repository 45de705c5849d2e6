"""PostgreSQL (asyncpg) and objects (obstore): the only package that imports either."""
