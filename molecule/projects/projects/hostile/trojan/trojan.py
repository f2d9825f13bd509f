GIFT = True
