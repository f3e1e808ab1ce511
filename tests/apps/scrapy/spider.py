from pathlib import Path

import scrapy


class Quotes(scrapy.Spider):
    name = "quotes"
    start_urls = [Path("page.html").resolve().as_uri()]

    def parse(self, response):
        for quote in response.css(".quote::text"):
            yield {"text": quote.get()}
