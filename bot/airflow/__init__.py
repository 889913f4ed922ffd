"""What an Airflow environment imports of the bot: ``bot.airflow.sensors``, for anybody's DAG.

Airflow is no dependency of the bot. Only ``sensors``, ``triggers``, ``failures`` and ``logs`` import it, and only an
environment that has it imports them; ``waiting`` is plain asyncio.
"""
