-- What the blog's recipe runs inside each INSERT, with a procedure that does nothing in the place of
-- mysql.lambda_async: its cost without the call to Lambda.

CREATE PROCEDURE shop.lambda_async(IN function_arn TEXT, IN payload TEXT) BEGIN END;

CREATE PROCEDURE shop.CDC_TO_FIREHOSE(
    IN ItemID VARCHAR(255), IN Category VARCHAR(255), IN Price DOUBLE(10,2), IN Quantity INT(11),
    IN OrderDate TIMESTAMP, IN DestinationState VARCHAR(2), IN ShippingType VARCHAR(255), IN Referral VARCHAR(255))
LANGUAGE SQL
CALL shop.lambda_async(
    'arn:aws:lambda:us-east-1:123456789012:function:CDCFromAuroraToKinesis',
    CONCAT('{"ItemID":"', ItemID, '","Category":"', Category, '","Price":"', Price, '","Quantity":"', Quantity,
           '","OrderDate":"', OrderDate, '","DestinationState":"', DestinationState,
           '","ShippingType":"', ShippingType, '","Referral":"', Referral, '"}'));

CREATE TRIGGER shop.TR_Sales_CDC AFTER INSERT ON shop.Sales FOR EACH ROW
CALL shop.CDC_TO_FIREHOSE(NEW.ItemID, NEW.Category, NEW.Price, NEW.Quantity, NEW.OrderDate, NEW.DestinationState,
                          NEW.ShippingType, NEW.Referral);
