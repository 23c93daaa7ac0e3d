"""What must be true of every service that moves money, in terms of the rules that it promises."""
